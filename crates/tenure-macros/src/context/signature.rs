//! The signature of a context: what it has to be, and what it becomes.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{
    Attribute, BoundLifetimes, FnArg, Lifetime, ParenthesizedGenericArguments, Pat, PatIdent, PatType,
    Receiver, ReceiverKind, ReturnType, Signature, Type, TypeFnPtr, TypeReference,
};

use super::ATTRIBUTE;
use crate::function::{Errors, Function};
use crate::options::Hub;
use crate::result::{contains_impl_trait, result_parts};

/// The parts of the function that is generated.
pub(super) struct Parts {
    /// Its signature.
    pub(super) sig: Signature,
    /// `#[must_use]`, unless the user's is there.
    pub(super) must_use: TokenStream,
    /// The lent type, as the closure says it.
    pub(super) lender_value: TokenStream,
    /// What the body returns in its `Ok`.
    pub(super) end: TokenStream,
    /// The error type.
    pub(super) error: TokenStream,
    /// The statements that move every argument into the closure, as an `async fn` would hold them.
    pub(super) captures: TokenStream,
}

/// Checks the signature. `None` if it lacks what the generated one is made of.
pub(super) fn parts(function: &Function, hub: &Hub, recovering: bool, errors: &mut Errors) -> Option<Parts> {
    function.check_qualifiers(ATTRIBUTE, errors);
    check_borrows(&function.sig, errors);
    let output = function.result(
        ATTRIBUTE,
        "write what entering gives, `-> Result<T, Error>`, where `T` is the type of the lent value",
        errors,
    )?;
    let (value, error) = match result_parts(output) {
        Some((value, error)) => (value.to_token_stream(), error.to_token_stream()),
        // An alias, or no `Result` at all: the trait's own message says so.
        None => {
            let span = Span::mixed_site().located_at(output.span());
            let private = hub.item("__private", span);
            let fallible = quote_spanned!(span=> #private::Fallible);
            (
                quote_spanned!(span=> <#output as #fallible>::Value),
                quote_spanned!(span=> <#output as #fallible>::Error),
            )
        }
    };
    let lender_value = if contains_impl_trait(output) { quote!(_) } else { value.clone() };
    let (lent, end) =
        if recovering { (quote!(LentRecovering), quote!(#hub::Verdict)) } else { (quote!(Lent), quote!(())) };
    let resource = quote!(#hub::#lent<#value, #error>);
    let mut sig = function.sig.clone();
    sig.asyncness = None;
    let captures = move_arguments(&mut sig);
    let span = Span::mixed_site().located_at(function.name_span());
    sig.output = syn::parse_quote_spanned! {span=>
        -> impl ::core::future::Future<Output = ::core::result::Result<#resource, #error>>
            + ::core::marker::Send
            + 'static
    };
    Some(Parts {
        sig,
        must_use: must_use(&function.attrs),
        lender_value,
        end,
        error: error_of(output, error),
        captures,
    })
}

/// The error type, as the closure may say it.
fn error_of(output: &Type, error: TokenStream) -> TokenStream {
    match result_parts(output) {
        Some((_, error)) if contains_impl_trait(error) => quote!(_),
        _ => error,
    }
}

fn must_use(attrs: &[Attribute]) -> TokenStream {
    if attrs.iter().any(|attr| attr.path().is_ident("must_use")) {
        TokenStream::new()
    } else {
        quote!(#[must_use = "a context does nothing until it is entered"])
    }
}

/// Gives every argument a plain name in `sig`, and returns the `let`s that take it apart in the closure.
///
/// An `async fn` holds all its arguments to its end; a closure captures what it uses, and of that no more than
/// the fields it uses. The `let`s make it capture each argument whole.
fn move_arguments(sig: &mut Signature) -> TokenStream {
    let mut captures = TokenStream::new();
    for (index, argument) in sig.inputs.iter_mut().enumerate() {
        match argument {
            // `self` cannot be bound anew; a look at it captures it whole.
            FnArg::Receiver(receiver) => {
                let this = &receiver.self_token;
                captures.extend(quote!(let _ = &#this;));
            }
            FnArg::Typed(PatType { attrs, pat, .. }) => {
                let pattern = pat.clone();
                let conditions = attrs.iter().filter(|attr| attr.path().is_ident("cfg"));
                let conditions: TokenStream = conditions.map(ToTokens::to_token_stream).collect();
                let lints = attrs.iter().filter(|attr| !attr.path().is_ident("cfg"));
                match plain_name(pat) {
                    Some(name) => {
                        captures.extend(quote!(#conditions #(#lints)* let #pattern = #name;));
                        **pat = Pat::Ident(name);
                    }
                    None => {
                        let name = format_ident!("argument{}", index, span = Span::mixed_site());
                        captures.extend(
                            quote!(#conditions let #name = #name; #conditions #(#lints)* let #pattern = #name;),
                        );
                        **pat = syn::parse_quote!(#name);
                    }
                }
            }
        }
    }
    captures
}

/// The name of an argument that is one variable, without its `mut`.
fn plain_name(pat: &Pat) -> Option<PatIdent> {
    match pat {
        Pat::Ident(name) if name.by_ref.is_none() && name.subpat.is_none() => Some(PatIdent {
            attrs: Vec::new(),
            by_ref: None,
            mutability: None,
            ident: name.ident.clone(),
            subpat: None,
        }),
        _ => None,
    }
}

/// Reports what is borrowed: an exit outlives its caller, so the function that it belongs to does too.
fn check_borrows(sig: &Signature, errors: &mut Errors) {
    for argument in &sig.inputs {
        match argument {
            FnArg::Receiver(receiver) => check_receiver(receiver, errors),
            FnArg::Typed(argument) => {
                if let Some(span) = borrowed(&argument.ty) {
                    errors.push(
                        span,
                        "a context cannot borrow its arguments: its exit may end after its caller has gone\n\
                         help: take the argument by value, or in an `Arc`; `&'static` is allowed",
                    );
                }
            }
        }
    }
    if let ReturnType::Type(_, output) = &sig.output
        && let Some(span) = borrowed(output)
    {
        errors.push(
            span,
            "a context cannot lend what is borrowed: its exit may end after its caller has gone\n\
             help: lend an owned value, or one in an `Arc`; `&'static` is allowed",
        );
    }
}

fn check_receiver(receiver: &Receiver, errors: &mut Errors) {
    let span = match &receiver.kind {
        ReceiverKind::Reference(_, Some(lifetime), _) if lifetime.ident == "static" => None,
        ReceiverKind::Reference(and, ..) => Some(and.span),
        ReceiverKind::Typed(_, ty) => borrowed(ty),
        _ => None,
    };
    if let Some(span) = span {
        errors.push(
            span,
            "a context cannot borrow `self`: its exit may end after its caller has gone\n\
             help: take `self: Arc<Self>`, or `self` by value and clone before the call",
        );
    }
}

/// The first lifetime in `ty` that is not `'static`, written or left out.
fn borrowed(ty: &Type) -> Option<Span> {
    struct Finder {
        found: Option<Span>,
        bound: Vec<Lifetime>,
    }
    impl Visit<'_> for Finder {
        fn visit_type_reference(&mut self, reference: &TypeReference) {
            if reference.lifetime.is_none() {
                self.found.get_or_insert(reference.and_token.span);
            }
            visit::visit_type_reference(self, reference);
        }
        fn visit_lifetime(&mut self, lifetime: &Lifetime) {
            if lifetime.ident != "static" && !self.bound.contains(lifetime) {
                self.found.get_or_insert(lifetime.span());
            }
        }
        fn visit_bound_lifetimes(&mut self, bound: &BoundLifetimes) {
            // `for<'a>` comes before its use, and its names are not those of the function.
            for parameter in &bound.lifetimes {
                if let syn::GenericParam::Lifetime(parameter) = parameter {
                    self.bound.push(parameter.lifetime.clone());
                }
            }
        }
        // What a function takes and returns is borrowed while it is called.
        fn visit_type_fn_ptr(&mut self, _: &TypeFnPtr) {}
        fn visit_parenthesized_generic_arguments(&mut self, _: &ParenthesizedGenericArguments) {}
    }
    let mut finder = Finder { found: None, bound: Vec::new() };
    finder.visit_type(ty);
    finder.found
}
