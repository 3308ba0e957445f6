//! The word `lend!`: how it is recognised, and what it is replaced by.

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use quote::{quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{Attribute, Block, Error, Expr, Ident, Item, Macro, Path, Result, Stmt, Token};

/// Whether a macro of this path is the lending one: `lend!`, or `lend!` of some crate's root (`tenure::lend!`).
pub(super) fn is_lend(path: &Path) -> bool {
    path.segments.len() <= 2 && path.segments.last().is_some_and(|last| last.ident == "lend")
}

/// What stands in the parentheses of `lend!(…)`.
pub(super) struct Lend {
    pub(super) value: Expr,
}

impl Parse for Lend {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if input.is_empty() {
            return Err(input.error("`lend!` needs the value to lend\nhelp: write `lend!(value)`"));
        }
        let value = input.parse()?;
        if input.peek(Token![,]) {
            let comma: Token![,] = input.parse()?;
            if !input.is_empty() {
                return Err(Error::new(
                    comma.span,
                    "`lend!` lends one value\nhelp: lend several as a tuple, `lend!((a, b))`, and write the tuple into the \
                     function's return type",
                ));
            }
        }
        if !input.is_empty() {
            return Err(input.error("`lend!` takes one expression"));
        }
        Ok(Self { value })
    }
}

/// Parses the parentheses of a `lend!`.
pub(super) fn parse(mac: &Macro) -> Result<Lend> {
    if mac.tokens.is_empty() {
        // The parser would point behind the macro.
        return Err(Error::new_spanned(mac, "`lend!` needs the value to lend\nhelp: write `lend!(value)`"));
    }
    mac.parse_body()
}

/// Where `lend!` stands among tokens that nobody has parsed.
pub(super) fn find(tokens: TokenStream) -> Option<Span> {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Ident(word) if word == "lend" => {
                let bang =
                    tokens.next_if(|next| matches!(next, TokenTree::Punct(punct) if punct.as_char() == '!'));
                let called = bang.is_some()
                    && matches!(tokens.peek(), Some(TokenTree::Group(group)) if group.delimiter() != Delimiter::None);
                if called {
                    return Some(word.span());
                }
            }
            TokenTree::Group(group) => {
                if let Some(span) = find(group.stream()) {
                    return Some(span);
                }
            }
            TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
    None
}

/// Whether a nested function with these attributes is a context of its own, whose `lend!` is none of this one's.
pub(super) fn makes_context(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|attr| {
        let last = attr.path().segments.last();
        last.is_some_and(|last| last.ident == "context")
    })
}

/// Puts `lender.lend(value).await` in the place of each `lend!(value)`.
pub(super) fn replace(body: &mut Block, lender: &Ident) {
    Replace { lender }.visit_block_mut(body);
}

struct Replace<'a> {
    lender: &'a Ident,
}

impl Replace<'_> {
    /// The call, if `mac` is a `lend!`.
    fn call(&mut self, attrs: &[Attribute], mac: &Macro) -> Option<Expr> {
        if !is_lend(&mac.path) {
            return None;
        }
        // The check of the flow has parsed it before, and reported if it could not.
        let Lend { mut value } = parse(mac).ok()?;
        self.visit_expr_mut(&mut value);
        // Located at the user's word, for messages and for the debugger; resolved as the macro's own.
        let span = Span::mixed_site().located_at(mac.path.span());
        let mut lender = self.lender.clone();
        lender.set_span(span);
        let call = quote_spanned!(span=> #lender.lend(#value).await);
        Some(Expr::Verbatim(quote!(#(#attrs)* #call)))
    }
}

impl VisitMut for Replace<'_> {
    fn visit_expr_mut(&mut self, expr: &mut Expr) {
        let call = match expr {
            Expr::Macro(found) => self.call(&found.attrs, &found.mac),
            _ => None,
        };
        match call {
            Some(call) => *expr = call,
            None => visit_mut::visit_expr_mut(self, expr),
        }
    }

    fn visit_block_mut(&mut self, block: &mut Block) {
        let count = block.stmts.len();
        for (index, statement) in block.stmts.iter_mut().enumerate() {
            let call = match statement {
                Stmt::Macro(found) => self.call(&found.attrs, &found.mac).map(|call| {
                    // `lend! { value }` needs no semicolon in the middle of a block; a call does.
                    let semi = found.semi_token;
                    let in_the_middle = index + 1 < count;
                    (call, semi.or_else(|| in_the_middle.then(Default::default)))
                }),
                _ => None,
            };
            match call {
                Some((call, semi)) => *statement = Stmt::Expr(call, semi),
                None => self.visit_stmt_mut(statement),
            }
        }
    }

    fn visit_item_mut(&mut self, _: &mut Item) {
        // A nested item's `lend!` is its own.
    }
}
