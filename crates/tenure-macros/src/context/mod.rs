//! `#[tenure::context]`: an `async fn` that lends a value becomes a function that returns a context.
//!
//! ```text
//! async fn f(url: Url) -> Result<T, E> { … lend!(v) … Ok(()) }
//!
//! fn f(url: Url) -> impl Future<Output = Result<Lent<T, E>, E>> + Send + 'static {
//!     tenure::context(async move |lender: Lender<T>| {
//!         let url = url;
//!         … lender.lend(v).await … Ok(())
//!     })
//! }
//! ```
//!
//! 1. [`signature`] checks the signature and makes the new one.
//! 2. [`flow`] follows the body and reports every `lend!` that could run twice or not at all.
//! 3. [`ending`] reports ends that are those of another function.
//! 4. [`lend`] finds the word, and puts the call in its place once the body is known to be good.

mod ending;
mod flow;
mod lend;
mod signature;

use proc_macro2::{Delimiter, Group, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Block, Ident, Result, ReturnType, Type};

use crate::function::{Errors, Function};
use crate::options::{Hub, pairs};
use crate::result::{result_parts, returns};
use signature::Parts;

const ATTRIBUTE: &str = "#[tenure::context]";

#[derive(Default)]
struct Options {
    hub: Hub,
    recovering: bool,
}

impl Options {
    fn parse(args: TokenStream) -> Result<Self> {
        let mut options = Self::default();
        for pair in pairs(args)? {
            match pair.key.to_string().as_str() {
                "crate" => options.hub = pair.hub()?,
                "recovering" => {
                    pair.word()?;
                    options.recovering = true;
                }
                _ => return Err(pair.unknown(ATTRIBUTE, &["recovering", "crate"])),
            }
        }
        Ok(options)
    }
}

/// Expands `#[tenure::context]`.
pub(crate) fn context(args: TokenStream, item: TokenStream) -> TokenStream {
    let function = match syn::parse2::<Function>(item) {
        Ok(function) => function,
        Err(error) => return error.to_compile_error(),
    };
    let mut errors = Errors::default();
    let options = Options::parse(args).unwrap_or_else(|error| {
        errors.add(error);
        Options::default()
    });
    let parts = signature::parts(&function, &options.hub, options.recovering, &mut errors);
    let signature_is_good = errors.is_empty();
    let body = match syn::parse2::<Block>(function.body.to_token_stream()) {
        Ok(body) => {
            let reaches_end = flow::check(&body, &function.sig.ident, &mut errors);
            let value = lent_type(&function);
            ending::check(&body, value, options.recovering, reaches_end, &mut errors);
            Some(body)
        }
        Err(error) => {
            errors.add(error);
            None
        }
    };
    match (errors.into_compile_errors(), parts, body) {
        (None, Some(parts), Some(body)) => expand(&function, &options, &parts, body),
        (errors, Some(parts), _) if signature_is_good => {
            let stub = stub(&function, &parts);
            quote!(#errors #stub)
        }
        (errors, ..) => errors.unwrap_or_default(),
    }
}

/// The type of the lent value, where it is written.
fn lent_type(function: &Function) -> Option<&Type> {
    match &function.sig.output {
        ReturnType::Type(_, output) => result_parts(output).map(|(value, _)| value),
        ReturnType::Default => None,
    }
}

fn expand(function: &Function, options: &Options, parts: &Parts, mut body: Block) -> TokenStream {
    // A name of the macro's own: the user's `lender`, if there is one, is another variable.
    let lender = Ident::new("lender", Span::mixed_site());
    lend::replace(&mut body, &lender);

    let hub = &options.hub;
    let Parts { lender_value, end, error, captures, .. } = parts;
    // What the compiler has to say about the body as a whole it says at the name of the function.
    let span = Span::mixed_site().located_at(function.name_span());
    let context = hub.item(if options.recovering { "context_recovering" } else { "context" }, span);
    let typed = returns(quote_spanned!(span=> ::core::result::Result<#end, #error>));
    let statements = &body.stmts;
    // The braces are the user's: what is missing at the end is missing there.
    let mut block = Group::new(Delimiter::Brace, quote!(#typed #captures #(#statements)*));
    block.set_span(function.body.span());
    let call = quote_spanned! {span=>
        #context(async move |#lender: #hub::Lender<#lender_value>| #block)
    };
    let head = head(function, parts);
    quote!(#head { #call })
}

/// The function with a body that fits its type and does nothing: its callers compile, so that the mistakes
/// in it are all that is reported.
fn stub(function: &Function, parts: &Parts) -> TokenStream {
    let head = head(function, parts);
    quote! {
        #[allow(unused_variables, reason = "the body is left out, because it has errors")]
        #head {
            ::core::future::pending()
        }
    }
}

/// Everything before the body.
fn head(function: &Function, parts: &Parts) -> TokenStream {
    let Function { attrs, vis, .. } = function;
    let Parts { sig, must_use, .. } = parts;
    quote! {
        #(#attrs)*
        #must_use
        #vis #sig
    }
}
