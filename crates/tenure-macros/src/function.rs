//! The function an attribute stands on: its signature parsed, its body left as tokens.
//!
//! Only `context` looks into the body. The others pass it on unparsed, so that syntax younger than the
//! parser, and code that is half typed in an editor, come through.

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::parse::{Parse, ParseStream, Parser};
use syn::{AttrStyle, Attribute, Error, Result, ReturnType, Safety, Signature, Type, Visibility};

use crate::result::is_surely_no_result;

/// A free function or a method, with its body unparsed.
pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    /// The body with its braces.
    pub(crate) body: TokenTree,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut attrs = input.call(Attribute::parse_outer)?;
        let vis: Visibility = input.parse()?;
        let starts_function = input.peek(syn::Token![const])
            || input.peek(syn::Token![async])
            || input.peek(syn::Token![unsafe])
            || input.peek(syn::Token![extern])
            || input.peek(syn::Token![fn]);
        if !starts_function {
            return Err(input.error("this attribute goes on an `async fn`"));
        }
        let sig: Signature = input.parse()?;
        let body = match input.parse::<TokenTree>()? {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                take_inner_attributes(group, &mut attrs)?.into()
            }
            other => {
                return Err(Error::new(
                    other.span(),
                    "this attribute wraps the body of a function, and here is none\n\
                     help: in a trait, declare the method without the attribute and put it on the implementation",
                ));
            }
        };
        Ok(Self { attrs, vis, sig, body })
    }
}

/// Moves the attributes at the start of a body, `#![…]`, to those above the function, where they mean the same.
fn take_inner_attributes(body: Group, attrs: &mut Vec<Attribute>) -> Result<Group> {
    let parser = |input: ParseStream<'_>| {
        let inner = input.call(Attribute::parse_inner)?;
        Ok((inner, input.parse::<TokenStream>()?))
    };
    let (inner, rest) = parser.parse2(body.stream())?;
    if inner.is_empty() {
        // As it was: a group that is made anew does not know the places of its two braces.
        return Ok(body);
    }
    attrs.extend(inner.into_iter().map(|mut attr| {
        attr.style = AttrStyle::Outer;
        attr
    }));
    let mut stripped = Group::new(Delimiter::Brace, rest);
    stripped.set_span(body.span());
    Ok(stripped)
}

impl ToTokens for Function {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        for attr in &self.attrs {
            attr.to_tokens(tokens);
        }
        self.vis.to_tokens(tokens);
        self.sig.to_tokens(tokens);
        self.body.to_tokens(tokens);
    }
}

impl Function {
    /// Where a message about the function as a whole points to.
    pub(crate) fn name_span(&self) -> Span {
        self.sig.ident.span()
    }

    /// Reports each qualifier that `attribute` cannot keep, and a missing `async`.
    pub(crate) fn check_qualifiers(&self, attribute: &str, errors: &mut Errors) {
        let sig = &self.sig;
        if sig.asyncness.is_none() {
            errors.push(
                sig.fn_token.span,
                format!("`{attribute}` goes on an `async fn`\nhelp: add `async` before `fn`"),
            );
        }
        let unfit = |word: &str| format!("`{attribute}` cannot go on {word} function\nhelp: remove this word");
        if let Some(token) = &sig.constness {
            errors.push(token.span, unfit("a `const`"));
        }
        if let Safety::Unsafe(token) = &sig.safety {
            errors.push(
                token.span,
                format!(
                    "`{attribute}` cannot go on an `unsafe` function: nobody could say what its caller has to uphold, \
                     and for how long\nhelp: make the function safe, with `unsafe` blocks in its body"
                ),
            );
        }
        if let Some(abi) = &sig.abi {
            errors.push(abi.extern_token.span, unfit("an `extern`"));
        }
        if let Some(variadic) = &sig.variadic {
            errors.push(variadic.dots.spans[0], format!("`{attribute}` cannot go on a variadic function"));
        }
    }

    /// Reports generic parameters, which the harness or the runtime that calls the function could not fill in.
    pub(crate) fn check_not_generic(&self, attribute: &str, errors: &mut Errors) {
        if let Some(parameter) = self.sig.generics.params.first() {
            errors.push_on(
                parameter,
                format!("`{attribute}` cannot go on a generic function: nobody chooses its parameters"),
            );
        }
    }

    /// The declared return type. If there is none, or if it is no `Result`, that is reported, with the `cure`.
    pub(crate) fn result(&self, attribute: &str, cure: &str, errors: &mut Errors) -> Option<&Type> {
        let output = match &self.sig.output {
            ReturnType::Type(_, output) => output,
            ReturnType::Default => {
                errors.push(self.name_span(), format!("`{attribute}` needs a return type\nhelp: {cure}"));
                return None;
            }
        };
        if is_surely_no_result(output) {
            errors.push_on(
                output,
                format!("`{attribute}` goes on a function that returns a `Result`\nhelp: {cure}"),
            );
            return None;
        }
        Some(output)
    }
}

/// All the mistakes found in one use of a macro: the compiler shows each at its own place.
#[derive(Default)]
pub(crate) struct Errors {
    found: Option<Error>,
}

impl Errors {
    /// Adds a mistake at `span`.
    pub(crate) fn push(&mut self, span: Span, message: impl std::fmt::Display) {
        self.add(Error::new(span, message));
    }

    /// Adds a mistake that is the whole of `tokens`.
    pub(crate) fn push_on(&mut self, tokens: impl ToTokens, message: impl std::fmt::Display) {
        self.add(Error::new_spanned(tokens, message));
    }

    /// Adds an error that was made elsewhere.
    pub(crate) fn add(&mut self, error: Error) {
        match &mut self.found {
            Some(found) => found.combine(error),
            None => self.found = Some(error),
        }
    }

    /// Whether nothing was found.
    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_none()
    }

    /// The invocations of `compile_error!`, or `None` if there was no mistake.
    pub(crate) fn into_compile_errors(self) -> Option<TokenStream> {
        self.found.map(|error| error.to_compile_error())
    }
}
