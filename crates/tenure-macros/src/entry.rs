//! `#[tenure::main]` and `#[tenure::test]`: an `async fn` run on a runtime of its own, which is drained after it.
//!
//! The function becomes the inner one of a synchronous function of the same name. It is not unpacked into an
//! `async` block: its return type stays written, so `?` and the compiler's messages are those of a plain function.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, Error, LitInt, Result, ReturnType};

use crate::function::{Errors, Function};
use crate::options::{Hub, Pair, pairs};

/// The runtime that the options ask for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flavor {
    CurrentThread,
    MultiThread,
}

/// What both attributes can be told.
struct Options {
    hub: Hub,
    flavor: Flavor,
    worker_threads: Option<LitInt>,
    start_paused: bool,
    /// The calls of other setters of the hub.
    setters: Vec<TokenStream>,
}

/// What tells the two attributes apart.
struct Kind {
    attribute: &'static str,
    default_flavor: Flavor,
    known: &'static [&'static str],
}

const MAIN: Kind = Kind {
    attribute: "#[tenure::main]",
    default_flavor: Flavor::MultiThread,
    known: &[
        "flavor",
        "worker_threads",
        "exit_timeout",
        "body_stop_timeout",
        "success_after_signal",
        "stop_on_hangup",
        "stop_on_quit",
        "crate",
    ],
};

const TEST: Kind = Kind {
    attribute: "#[tenure::test]",
    default_flavor: Flavor::CurrentThread,
    known: &["flavor", "worker_threads", "start_paused", "drain_limit", "crate"],
};

/// Expands `#[tenure::main]`.
pub(crate) fn main(args: TokenStream, item: TokenStream) -> TokenStream {
    let function = match syn::parse2::<Function>(item) {
        Ok(function) => function,
        Err(error) => return error.to_compile_error(),
    };
    let mut errors = Errors::default();
    let options = Options::parse(args, &MAIN, &mut errors);
    function.check_qualifiers(MAIN.attribute, &mut errors);
    function.check_not_generic(MAIN.attribute, &mut errors);
    if function.sig.ident != "main" {
        errors.push(
            function.name_span(),
            "`#[tenure::main]` goes on `main`, the function that starts the process\n\
             help: anywhere else, await `tenure::run(future)`",
        );
    }
    if let Some(second) = function.sig.inputs.iter().nth(1) {
        errors.push_on(second, "`main` takes no argument, or one: `shutdown: tenure::CancelToken`");
    }
    if let Some(errors) = errors.into_compile_errors() {
        // A `main` all the same: that there is none would be one more message, and a wrong one.
        let name = &function.sig.ident;
        return quote!(#errors fn #name() {});
    }
    expand_main(&function, &options)
}

fn expand_main(function: &Function, options: &Options) -> TokenStream {
    let Function { attrs, vis, .. } = function;
    let hub = &options.hub;
    let name = &function.sig.ident;
    let inner = inner(function);
    let runtime = options.runtime();
    let setters = &options.setters;
    // A `main` that takes the token is told of the shutdown; one that does not is dropped.
    let run = if function.sig.inputs.is_empty() {
        quote_spanned!(output_span(function)=> .block_on(#name()))
    } else {
        quote_spanned!(output_span(function)=> .block_on_cooperative(#name))
    };
    quote! {
        #(#attrs)*
        #vis fn #name() -> ::std::process::ExitCode {
            #inner
            #hub::__private::Main::new() #runtime #(#setters)* #run
        }
    }
}

/// Expands `#[tenure::test]`.
pub(crate) fn test(args: TokenStream, item: TokenStream) -> TokenStream {
    let function = match syn::parse2::<Function>(item) {
        Ok(function) => function,
        Err(error) => return error.to_compile_error(),
    };
    let mut errors = Errors::default();
    let options = Options::parse(args, &TEST, &mut errors);
    function.check_qualifiers(TEST.attribute, &mut errors);
    function.check_not_generic(TEST.attribute, &mut errors);
    if let Some(argument) = function.sig.inputs.first() {
        errors.push_on(argument, "a test takes no arguments: nobody would pass them");
    }
    if let Some(second) = function.attrs.iter().find(|attr| is_test(attr)) {
        errors.push_on(
            second,
            "a second test attribute: the test would run twice\nhelp: `#[tenure::test]` alone is enough",
        );
    }
    errors.into_compile_errors().unwrap_or_else(|| expand_test(&function, &options))
}

fn expand_test(function: &Function, options: &Options) -> TokenStream {
    let Function { attrs, vis, .. } = function;
    let hub = &options.hub;
    let name = &function.sig.ident;
    let label = name.unraw().to_string();
    let output = &function.sig.output;
    let inner = inner(function);
    let runtime = options.runtime();
    let setters = &options.setters;
    let paused = options.start_paused.then(|| quote!(.start_paused(true)));
    quote! {
        #[::core::prelude::v1::test]
        #(#attrs)*
        #vis fn #name() #output {
            #inner
            #hub::__private::Test::new() #runtime #paused #(#setters)*
                .block_on(::core::concat!(::core::module_path!(), "::", #label), #name())
        }
    }
}

/// The user's function without its attributes, which stay on the outer one: those that matter to the body
/// (lint levels) reach into it from there.
fn inner(function: &Function) -> TokenStream {
    let Function { sig, body, .. } = function;
    quote! {
        #[allow(clippy::unused_async, reason = "the attribute asks for `async`")]
        #sig #body
    }
}

/// Where a complaint about the type that the function returns points to.
fn output_span(function: &Function) -> Span {
    match &function.sig.output {
        ReturnType::Type(_, output) => Span::mixed_site().located_at(output.span()),
        ReturnType::Default => Span::mixed_site(),
    }
}

/// Whether an attribute makes a test by itself.
fn is_test(attr: &Attribute) -> bool {
    let path: Vec<String> = attr.path().segments.iter().map(|s| s.ident.to_string()).collect();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    matches!(path[..], ["test"] | ["tenure" | "tokio", "test"] | ["core" | "std", "prelude", _, "test"])
}

impl Options {
    /// Reads the options; what is wrong goes to `errors`, and the defaults stand in for it.
    fn parse(args: TokenStream, kind: &Kind, errors: &mut Errors) -> Self {
        let mut options = Self {
            hub: Hub::default(),
            flavor: kind.default_flavor,
            worker_threads: None,
            start_paused: false,
            setters: Vec::new(),
        };
        match pairs(args) {
            Ok(pairs) => {
                for pair in &pairs {
                    if let Err(error) = options.set(pair, kind) {
                        errors.add(error);
                    }
                }
                if errors.is_empty() {
                    options.check(&pairs, errors);
                }
            }
            Err(error) => errors.add(error),
        }
        options
    }

    fn set(&mut self, pair: &Pair, kind: &Kind) -> Result<()> {
        let key = pair.key.to_string();
        match key.as_str() {
            key if !kind.known.contains(&key) => {
                return Err(pair.unknown(kind.attribute, kind.known));
            }
            "flavor" => self.flavor = flavor(pair)?,
            "worker_threads" => self.worker_threads = Some(pair.positive()?),
            "start_paused" => self.start_paused = pair.boolean()?.value,
            "crate" => self.hub = pair.hub()?,
            "exit_timeout" | "body_stop_timeout" | "drain_limit" => {
                let (setter, time) = (&pair.key, pair.duration()?);
                self.setters.push(quote!(.#setter(#time)));
            }
            "success_after_signal" | "stop_on_hangup" | "stop_on_quit" => {
                let (setter, choice) = (&pair.key, pair.boolean()?);
                self.setters.push(quote!(.#setter(#choice)));
            }
            key => unreachable!("`{key}` is known, so it is one of the above"),
        }
        Ok(())
    }

    /// Reports options that contradict each other.
    fn check(&self, pairs: &[Pair], errors: &mut Errors) {
        let span_of = |key: &str| {
            let pair = pairs.iter().find(|pair| pair.key == key);
            pair.map_or_else(Span::call_site, |pair| pair.key.span())
        };
        if self.worker_threads.is_some() && self.flavor == Flavor::CurrentThread {
            errors.push(
                span_of("worker_threads"),
                "`worker_threads` is for the runtime of several threads\n\
                 help: add `flavor = \"multi_thread\"`, or leave `worker_threads` out",
            );
        }
        if self.start_paused && self.flavor == Flavor::MultiThread {
            errors.push(
                span_of("start_paused"),
                "only the runtime of one thread can pause its clock\n\
                 help: leave `flavor` out, or `start_paused`",
            );
        }
    }

    /// The calls that choose the runtime.
    fn runtime(&self) -> TokenStream {
        match (self.flavor, &self.worker_threads) {
            (Flavor::CurrentThread, _) => quote!(.current_thread()),
            (Flavor::MultiThread, None) => quote!(.multi_thread(::core::option::Option::None)),
            (Flavor::MultiThread, Some(workers)) => {
                let workers = LitInt::new(&with_usize(workers), workers.span());
                quote!(.multi_thread(::core::option::Option::Some(#workers)))
            }
        }
    }
}

/// The digits of a number with the suffix `usize`, whatever suffix it was written with.
fn with_usize(number: &LitInt) -> String {
    format!("{}usize", number.base10_digits())
}

fn flavor(pair: &Pair) -> Result<Flavor> {
    let string = pair.string("\"multi_thread\"")?;
    match string.value().as_str() {
        "multi_thread" => Ok(Flavor::MultiThread),
        "current_thread" => Ok(Flavor::CurrentThread),
        other => Err(Error::new(
            string.span(),
            format!("there is no runtime flavor `{other}`\nhelp: it is \"multi_thread\" or \"current_thread\""),
        )),
    }
}
