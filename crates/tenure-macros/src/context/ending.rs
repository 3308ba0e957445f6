//! With what a context ends: `Ok(())`, or its verdict.
//!
//! The declared return type speaks of what entering gives, so a body that ends with the lent value looks right, and
//! the compiler's "expected `()`" does not say why it is not. Where syntax alone shows the mistake, this does.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Block, Expr, Item, Member, Stmt, Type};

use super::lend;
use crate::function::Errors;

/// Reports each end of `body` that cannot be right. `value` is the lent type, as far as it is known;
/// `reaches_end` is whether control comes to the closing brace with the value lent.
pub(super) fn check(
    body: &Block,
    value: Option<&Type>,
    recovering: bool,
    reaches_end: bool,
    errors: &mut Errors,
) {
    if !errors.is_empty() {
        // An end that looks wrong may be that of a function that is meant to be no context.
        return;
    }
    let lends_unit = matches!(value, Some(Type::Tuple(tuple)) if tuple.elems.is_empty());
    let mut ends = Ends { recovering, lends_unit, errors };
    if reaches_end && !has_result(body) {
        let end = if recovering { "Ok(Verdict::Propagate)" } else { "Ok(())" };
        ends.errors.push(
            body.brace_token.span.close(),
            format!("this context has no end\nhelp: write `{end}` as its last line"),
        );
    }
    ends.block(body);
    ends.visit_block(body);
}

/// Whether the last line of a body is an expression that could be its result.
fn has_result(body: &Block) -> bool {
    match body.stmts.last() {
        Some(Stmt::Expr(_, semi)) => semi.is_none(),
        Some(Stmt::Macro(last)) => last.semi_token.is_none() && !lend::is_lend(&last.mac.path),
        Some(Stmt::Local(_) | Stmt::Item(_)) | None => false,
    }
}

struct Ends<'a> {
    recovering: bool,
    lends_unit: bool,
    errors: &'a mut Errors,
}

impl Ends<'_> {
    /// Looks at the last expression of a block at whose end the body ends.
    fn block(&mut self, block: &Block) {
        if let Some(Stmt::Expr(tail, None)) = block.stmts.last() {
            self.tail(tail);
        }
    }

    /// Looks at an expression that is the body's result, in each of its branches.
    fn tail(&mut self, expr: &Expr) {
        match expr {
            Expr::Block(block) => self.block(&block.block),
            Expr::If(branches) => {
                self.block(&branches.then_branch);
                if let Some((_, otherwise)) = &branches.else_branch {
                    self.tail(otherwise);
                }
            }
            Expr::Match(branches) => {
                for arm in &branches.arms {
                    self.tail(&arm.body);
                }
            }
            Expr::Call(call) => {
                let Expr::Path(function) = &*call.func else {
                    return;
                };
                if let (true, Some(end), 1) = (function.path.is_ident("Ok"), call.args.first(), call.args.len())
                {
                    self.end(end);
                }
            }
            _ => {}
        }
    }

    /// Looks at what stands in an `Ok(…)` that the body ends with.
    fn end(&mut self, end: &Expr) {
        let is_unit = matches!(end, Expr::Tuple(tuple) if tuple.elems.is_empty());
        if self.recovering && is_unit {
            self.errors.push(
                end.span(),
                "a context that may recover ends with its verdict\n\
                 help: write `Ok(Verdict::Propagate)`, or `Ok(Verdict::Recover)` for an error that is dealt with",
            );
        } else if !self.recovering && is_verdict(end) {
            self.errors.push(
                end.span(),
                "only a context that says so may recover\n\
                 help: write `#[tenure::context(recovering)]`; it is entered by `with_recovering`",
            );
        } else if !self.recovering && !self.lends_unit && is_value(end) {
            self.errors.push(
                end.span(),
                "a context ends with `Ok(())`: its value was lent by `lend!`, and has come back to be released\n\
                 help: release the value, and write `Ok(())`",
            );
        }
    }
}

impl Visit<'_> for Ends<'_> {
    fn visit_expr_return(&mut self, expr: &syn::ExprReturn) {
        if let Some(value) = &expr.expr {
            self.tail(value);
        }
        visit::visit_expr_return(self, expr);
    }

    fn visit_macro(&mut self, mac: &syn::Macro) {
        if lend::is_lend(&mac.path)
            && let Ok(found) = lend::parse(mac)
        {
            Visit::visit_expr(self, &found.value);
        }
    }

    // What returns from these does not return from the context.
    fn visit_expr_closure(&mut self, _: &syn::ExprClosure) {}
    fn visit_expr_async(&mut self, _: &syn::ExprAsync) {}
    fn visit_item(&mut self, _: &Item) {}
}

/// Whether an expression names one of the verdicts.
fn is_verdict(expr: &Expr) -> bool {
    matches!(expr, Expr::Path(path) if path.path.segments.iter().any(|segment| segment.ident == "Verdict"))
}

/// Whether an expression is certainly not `()`, or is the value that `lend!` gave back.
fn is_value(expr: &Expr) -> bool {
    match expr {
        Expr::Lit(_) | Expr::Struct(_) | Expr::Array(_) | Expr::Reference(_) => true,
        Expr::Tuple(tuple) => !tuple.elems.is_empty(),
        Expr::Field(field) => matches!(&field.member, Member::Named(name) if name == "value"),
        _ => false,
    }
}
