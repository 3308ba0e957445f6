//! `#[tenure::within]`: a function whose every call enters a context before its body and exits it after.
//!
//! Attributes are expanded from the top, and each wraps what the ones above it left. Taken one by one, the
//! topmost context would be the innermost, against what the eye reads. So the first of them takes all the
//! others off the function and nests them itself: the topmost is the outermost, as with Python's decorators.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, Expr, GenericArgument, Ident, Meta, PathArguments, Result, ReturnType, Token, Type,
};

use crate::function::{Errors, Function};
use crate::options::{Hub, Pair};
use crate::result::{contains_impl_trait, result_parts, returns};

const ATTRIBUTE: &str = "#[tenure::within]";

/// One attribute: the context of one level.
struct Level {
    hub: Hub,
    recovering: bool,
    /// The name under which the body sees the resource.
    binding: Option<Ident>,
    context: Expr,
}

impl Level {
    /// Reads the parentheses of the attribute at `attribute`.
    fn read(tokens: TokenStream, attribute: Span) -> Result<Self> {
        if tokens.is_empty() {
            return Err(no_context(attribute));
        }
        syn::parse2(tokens)
    }
}

impl Parse for Level {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut hub = Hub::default();
        let mut recovering = false;
        loop {
            if input.peek(Token![crate]) && input.peek2(Token![=]) {
                hub = input.parse::<Pair>()?.hub()?;
            } else if input.peek(Ident)
                && input.peek2(Token![,])
                && input.fork().parse::<Ident>()? == "recovering"
            {
                input.parse::<Ident>()?;
                recovering = true;
            } else {
                break;
            }
            input.parse::<Token![,]>()?;
        }
        if input.is_empty() {
            return Err(no_context(input.span()));
        }
        let binding = if input.peek(Ident) && input.peek2(Token![=]) && !input.peek2(Token![==]) {
            let binding = input.parse()?;
            input.parse::<Token![=]>()?;
            Some(binding)
        } else {
            None
        };
        let context = input.parse()?;
        if input.peek(Token![,]) && input.peek2(syn::parse::End) {
            input.parse::<Token![,]>()?;
        }
        if !input.is_empty() {
            return Err(input.error(
                "`#[tenure::within]` takes one context\n\
                 help: give each context an attribute of its own; the topmost is entered first",
            ));
        }
        Ok(Self { hub, recovering, binding, context })
    }
}

fn no_context(span: Span) -> Error {
    Error::new(
        span,
        "`#[tenure::within]` needs the context to enter\n\
         help: write `#[tenure::within(connect(url))]`, or `#[tenure::within(conn = connect(url))]` to use \
         what it yields",
    )
}

/// Expands `#[tenure::within]`.
pub(crate) fn within(args: TokenStream, item: TokenStream) -> TokenStream {
    let mut function = match syn::parse2::<Function>(item) {
        Ok(function) => function,
        Err(error) => return error.to_compile_error(),
    };
    let mut errors = Errors::default();
    let mut levels = Vec::new();
    let mut add = |level: Result<Level>, errors: &mut Errors| match level {
        Ok(level) => levels.push(level),
        Err(error) => errors.add(error),
    };
    add(Level::read(args, Span::call_site()), &mut errors);
    let below = take_levels(&mut function.attrs);
    for attr in &below {
        let args = match &attr.meta {
            Meta::List(list) => list.tokens.clone(),
            Meta::Path(_) | Meta::NameValue(_) => TokenStream::new(),
        };
        add(Level::read(args, attr.span()), &mut errors);
    }
    check(&function, &mut errors);
    if let Some(errors) = errors.into_compile_errors() {
        // The function stays, for its callers; it is only not wrapped.
        return quote!(#errors #function);
    }
    expand(&function, &levels)
}

/// Takes the attributes off that say `within` too.
fn take_levels(attrs: &mut Vec<Attribute>) -> Vec<Attribute> {
    attrs
        .extract_if(.., |attr| {
            let path = attr.path();
            path.segments.last().is_some_and(|last| last.ident == "within")
        })
        .collect()
}

fn check(function: &Function, errors: &mut Errors) {
    if function.sig.asyncness.is_none() {
        errors.push(
            function.sig.fn_token.span,
            format!("`{ATTRIBUTE}` goes on an `async fn`: to enter and to exit is to wait\nhelp: add `async` before `fn`"),
        );
    }
    function.result(
        ATTRIBUTE,
        "write `-> Result<T, Error>`, and end the body with `Ok(value)`: to enter and to exit can fail",
        errors,
    );
}

fn expand(function: &Function, levels: &[Level]) -> TokenStream {
    let Function { attrs, vis, sig, body } = function;
    let outputs = outputs(&sig.output, levels);
    let mut wrapped = body.to_token_stream();
    for (level, output) in levels.iter().zip(&outputs).rev() {
        wrapped = nest(level, output.as_ref(), &wrapped);
    }
    quote! {
        #(#attrs)*
        #vis #sig {
            #wrapped
        }
    }
}

/// One level around `body`, which returns `output` if that could be written down.
fn nest(level: &Level, output: Option<&Type>, body: &TokenStream) -> TokenStream {
    let Level { hub, recovering, binding, context } = level;
    let binding = binding.as_ref().map_or_else(|| quote!(_), ToTokens::to_token_stream);
    let typed = output.map(returns);
    // A complaint that this is no context points at the context.
    let span = Span::mixed_site().located_at(context.span());
    let with = hub.item(if *recovering { "with_recovering" } else { "with" }, span);
    // The closure borrows the arguments: they live until the exit has ended, as they would in Python.
    quote_spanned! {span=>
        #with(#context, async |#binding: &mut _| { #typed #body }).await
    }
}

/// What the body of each level returns, from the outermost: a recovering one turns `T` into `Option<T>`.
///
/// Said in the closure, it gives `?` and `Ok(…)` in the body their types at once. Where it cannot be said
/// (`impl Trait`, an alias around the `Option`), the compiler works it out from the function's type.
fn outputs(output: &ReturnType, levels: &[Level]) -> Vec<Option<Type>> {
    let mut current = match output {
        ReturnType::Type(_, output) if !contains_impl_trait(output) => Some(Type::clone(output)),
        ReturnType::Type(..) | ReturnType::Default => None,
    };
    let mut outputs = Vec::with_capacity(levels.len());
    for level in levels {
        if level.recovering {
            current = current.as_ref().and_then(recovered);
        }
        outputs.push(current.clone());
    }
    outputs
}

/// `Result<T, E>` of `Result<Option<T>, E>`.
fn recovered(output: &Type) -> Option<Type> {
    let (value, error) = result_parts(output)?;
    let Type::Path(path) = value else { return None };
    let last = path.path.segments.last()?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    match arguments.args.first()? {
        GenericArgument::Type(inner) if last.ident == "Option" && arguments.args.len() == 1 => {
            Some(syn::parse_quote!(::core::result::Result<#inner, #error>))
        }
        _ => None,
    }
}
