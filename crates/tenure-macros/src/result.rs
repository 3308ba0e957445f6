//! Taking the declared `Result<T, E>` apart, and telling a closure of it.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote_spanned};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{GenericArgument, PathArguments, Type, TypeImplTrait};

/// `T` and `E` of a type that is written `Result<T, E>`, under whatever path.
///
/// An alias such as `io::Result<T>` has one parameter and is none of these: its parts are known to the
/// compiler alone.
pub(crate) fn result_parts(output: &Type) -> Option<(&Type, &Type)> {
    let path = match output {
        Type::Path(path) if path.qself.is_none() => &path.path,
        Type::Group(group) => return result_parts(&group.elem),
        Type::Paren(paren) => return result_parts(&paren.elem),
        _ => return None,
    };
    let last = path.segments.last()?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    let mut arguments = arguments.args.iter();
    match (arguments.next(), arguments.next(), arguments.next()) {
        (Some(GenericArgument::Type(value)), Some(GenericArgument::Type(error)), None)
            if last.ident == "Result" =>
        {
            Some((value, error))
        }
        _ => None,
    }
}

/// Whether a type is certainly no `Result`, nor an alias of one: what the language itself has, and the names
/// that nobody gives to something else.
pub(crate) fn is_surely_no_result(output: &Type) -> bool {
    match output {
        Type::Group(group) => is_surely_no_result(&group.elem),
        Type::Paren(paren) => is_surely_no_result(&paren.elem),
        Type::Path(path) => path.path.segments.last().is_some_and(|last| {
            let name = last.ident.to_string();
            NO_RESULTS.contains(&name.as_str())
        }),
        Type::Macro(_) | Type::Infer(_) | Type::Verbatim(_) => false,
        _ => true,
    }
}

const NO_RESULTS: &[&str] = &[
    "bool", "char", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "isize", "str", "u8", "u16", "u32", "u64",
    "u128", "usize", "Arc", "Box", "Option", "Self", "String", "Vec",
];

/// Whether a type says `impl Trait` somewhere, and so cannot be written inside of a function.
pub(crate) fn contains_impl_trait(ty: &Type) -> bool {
    #[derive(Default)]
    struct Finder(bool);
    impl Visit<'_> for Finder {
        fn visit_type_impl_trait(&mut self, ty: &TypeImplTrait) {
            self.0 = true;
            visit::visit_type_impl_trait(self, ty);
        }
    }
    let mut finder = Finder::default();
    finder.visit_type(ty);
    finder.0
}

/// The statement that tells an async closure, as its first, what it returns.
///
/// `async |…| -> Output` does not do: as of Rust 1.95 its body is not coerced to `Output`, so that `Err(error.into())`
/// passes and `Err(Box::new(error))` for a `Box<dyn Error>` does not. A `return` of the type does.
pub(crate) fn returns(output: impl ToTokens) -> TokenStream {
    let output = output.into_token_stream();
    let span = Span::mixed_site().located_at(output.span());
    quote_spanned! {span=>
        if let ::core::option::Option::Some(end) = ::core::option::Option::None::<#output> {
            #[allow(unreachable_code, reason = "where the type has no values")]
            return end;
        }
    }
}
