//! What stands in an attribute's parentheses: `key = value` pairs, durations, and the path of the hub.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Expr, Ident, Lit, LitBool, LitInt, LitStr, Path, Result, Token};

/// One `key = value`, or a `key` alone.
pub(crate) struct Pair {
    pub(crate) key: Ident,
    value: Option<Expr>,
}

impl Parse for Pair {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let key = input.call(Ident::parse_any)?;
        let value = if input.peek(Token![=]) {
            input.parse::<Token![=]>()?;
            Some(input.parse()?)
        } else {
            None
        };
        Ok(Self { key, value })
    }
}

/// Parses the pairs of one attribute; a key that stands twice is an error.
pub(crate) fn pairs(args: TokenStream) -> Result<Vec<Pair>> {
    use syn::parse::Parser;
    let parser = Punctuated::<Pair, Token![,]>::parse_terminated;
    let pairs: Vec<Pair> = parser.parse2(args)?.into_iter().collect();
    for (index, pair) in pairs.iter().enumerate() {
        if pairs[..index].iter().any(|earlier| earlier.key == pair.key) {
            return Err(Error::new(pair.key.span(), format!("`{}` stands here twice", pair.key)));
        }
    }
    Ok(pairs)
}

impl Pair {
    /// The value, if it is a literal.
    fn literal(&self) -> Option<&Lit> {
        match &self.value {
            Some(Expr::Lit(literal)) => Some(&literal.lit),
            Some(_) | None => None,
        }
    }

    /// The error for a value that is not `what`, of which `example` is one.
    fn unfit(&self, what: &str, example: &str) -> Error {
        let key = &self.key;
        let span = self.value.as_ref().map_or_else(|| key.span(), Spanned::span);
        Error::new(span, format!("`{key}` takes {what}\nhelp: write it as in `{key} = {example}`"))
    }

    /// The value as a string, of which `example` is one.
    pub(crate) fn string(&self, example: &str) -> Result<LitStr> {
        match self.literal() {
            Some(Lit::Str(string)) => Ok(string.clone()),
            _ => Err(self.unfit("a string", example)),
        }
    }

    /// The value as `true` or `false`.
    pub(crate) fn boolean(&self) -> Result<LitBool> {
        match self.literal() {
            Some(Lit::Bool(boolean)) => Ok(boolean.clone()),
            _ => Err(self.unfit("`true` or `false`", "true")),
        }
    }

    /// The value as a number that is not zero.
    pub(crate) fn positive(&self) -> Result<LitInt> {
        match self.literal() {
            Some(Lit::Int(number)) if number.base10_parse::<usize>()? > 0 => Ok(number.clone()),
            _ => Err(self.unfit("a number from 1 up", "4")),
        }
    }

    /// The value as a time, written `"500ms"`, `"10s"` or `"2m"`, as an expression of type `Duration`.
    pub(crate) fn duration(&self) -> Result<TokenStream> {
        let string = self.string("\"10s\"")?;
        match milliseconds(&string.value()) {
            Ok(0) => Err(Error::new(
                string.span(),
                format!("`{}` of zero would cut off every exit at once", self.key),
            )),
            Ok(millis) => Ok(quote!(::core::time::Duration::from_millis(#millis))),
            Err(reason) => Err(Error::new(
                string.span(),
                format!(
                    "{reason}\nhelp: write a whole number and `ms`, `s` or `m`, as in \"500ms\", \"10s\", \"2m\""
                ),
            )),
        }
    }

    /// The value as the path of the hub.
    pub(crate) fn hub(&self) -> Result<Hub> {
        let string = self.string("\"path::to::tenure\"")?;
        let path: Path = string.parse_with(Path::parse_mod_style).map_err(|_| {
            Error::new(string.span(), "`crate` takes a path, as in \"::tenure\" or \"crate::tenure\"")
        })?;
        Ok(Hub(path))
    }

    /// The error for a key that `attribute` does not have.
    pub(crate) fn unknown(&self, attribute: &str, known: &[&str]) -> Error {
        let known: Vec<String> = known.iter().map(|key| format!("`{key}`")).collect();
        Error::new(
            self.key.span(),
            format!("`{attribute}` has no option `{}`\nhelp: it has {}", self.key, known.join(", ")),
        )
    }

    /// The pair as a word that stands alone.
    pub(crate) fn word(&self) -> Result<()> {
        match &self.value {
            None => Ok(()),
            Some(value) => Err(Error::new_spanned(value, format!("`{}` takes no value", self.key))),
        }
    }
}

/// The path under which the generated code finds the hub: `::tenure` unless the user says otherwise.
pub(crate) struct Hub(Path);

impl Default for Hub {
    fn default() -> Self {
        Self(syn::parse_quote!(::tenure))
    }
}

impl Hub {
    /// The path of the hub's item `name`, all of it at `span`. The place of a path is that of all its tokens, and
    /// it is there that the compiler says what it has to say about the item's bounds.
    pub(crate) fn item(&self, name: &str, span: Span) -> TokenStream {
        let name = Ident::new(name, span);
        let hub = self.0.to_token_stream().into_iter().map(|mut token| {
            token.set_span(span);
            token
        });
        quote_spanned!(span=> #(#hub)* :: #name)
    }
}

impl ToTokens for Hub {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        self.0.to_tokens(tokens);
    }
}

/// Reads `"500ms"`, `"10s"` or `"2m"`.
fn milliseconds(text: &str) -> std::result::Result<u64, String> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim_start() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "" if !number.is_empty() => return Err(format!("`{text}` has no unit")),
        _ => return Err(format!("`{text}` is no time")),
    };
    let number: u64 = match number {
        "" => return Err(format!("`{text}` is no time")),
        number => number.parse().map_err(|_| format!("`{text}` is too long"))?,
    };
    number.checked_mul(factor).ok_or_else(|| format!("`{text}` is too long"))
}

#[cfg(test)]
mod tests {
    use super::milliseconds;

    #[test]
    fn times_are_read_in_each_unit() {
        assert_eq!(milliseconds("500ms"), Ok(500));
        assert_eq!(milliseconds("10s"), Ok(10_000));
        assert_eq!(milliseconds("2m"), Ok(120_000));
        assert_eq!(milliseconds(" 10 s "), Ok(10_000));
    }

    #[test]
    fn what_is_no_time_is_named() {
        assert_eq!(milliseconds("10"), Err("`10` has no unit".into()));
        for text in ["", "s", "10h", "1.5s", "-1s", "ten s", "10 sms"] {
            assert_eq!(milliseconds(text), Err(format!("`{text}` is no time")));
        }
        for text in ["99999999999999999999s", "18446744073709551615s"] {
            assert_eq!(milliseconds(text), Err(format!("`{text}` is too long")));
        }
    }
}
