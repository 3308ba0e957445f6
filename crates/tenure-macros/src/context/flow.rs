//! Follows control through the body of a context, as far as syntax shows it.
//!
//! The compiler alone would find most of these mistakes, since lending takes the lender by value, but it would
//! speak of a moved variable that the user never wrote. This check speaks of `lend!`. It knows less than the
//! compiler: what it lets through by ignorance (a `cfg`, say), the compiler still finds.
//!
//! # Invariants
//! 1. `lent` belongs to the point of evaluation that the visitor has reached. It is set if on some way to it
//!    the value was lent.
//! 2. Where control cannot come (after `return`, `break`, `panic!`) it is [`NOWHERE`], which adds nothing when
//!    branches meet.

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, BinOp, Block, Expr, ExprBinary, Ident, Item, Label, Lifetime, Macro, Stmt};

use super::lend;
use crate::function::Errors;

/// A `lend!` by which control may have come.
type Lent = Option<Span>;

/// Where control does not come: nothing was lent on the way to it.
const NOWHERE: Lent = None;

/// A loop or a labelled block that control can leave by `break`.
struct Frame {
    label: Option<Lifetime>,
    is_loop: bool,
    /// What its `break`s come with.
    left: Lent,
    /// What its `continue`s come with.
    continued: Lent,
}

struct Flow<'a> {
    lent: Lent,
    /// The `lend!` that was visited last.
    latest: Lent,
    frames: Vec<Frame>,
    /// The part of the body that is not the function's own and which is being visited, in words.
    foreign: Option<&'static str>,
    /// How many `lend!`s were seen, wherever they stand.
    count: usize,
    errors: &'a mut Errors,
}

/// Reports every mistake with `lend!` in `body` to `errors`. Says whether control can come to the closing brace
/// with the value lent.
pub(super) fn check(body: &Block, name: &Ident, errors: &mut Errors) -> bool {
    let mut flow = Flow { lent: None, latest: None, frames: Vec::new(), foreign: None, count: 0, errors };
    flow.visit_block(body);
    let Flow { lent, count, .. } = flow;
    if count == 0 {
        errors.push(
            name.span(),
            "this context never lends its value\n\
             help: write `let back = lend!(value);` where the body of the `with` is to run; what follows it is the exit",
        );
    }
    lent.is_some()
}

impl Flow<'_> {
    /// A `lend!` at `span`, its argument already visited.
    fn lend(&mut self, span: Span) {
        self.count += 1;
        if let Some(place) = self.foreign {
            self.errors.push(
                span,
                format!(
                    "`lend!` inside {place}: it lends for the context function itself, which only its own body can do\n\
                     help: compute the value there, and lend it in the body of the function, or in the `async` closure \
                     that is given to a `with` there"
                ),
            );
            return;
        }
        if let Some(first) = self.lent {
            self.errors.push(
                span,
                "`lend!` a second time: a context lends once\n\
                 help: lend both as a tuple, `lend!((a, b))`; or make two contexts and enter the one within the other; or, if \
                 only one of the two is ever reached, `return` after the first",
            );
            self.errors.push(first, "the value was lent here before");
        }
        self.lent = Some(span);
        self.latest = self.lent;
    }

    /// Visits an argument of a call. An `async` closure may be the body of a `with`, through which contexts nest: it
    /// may lend, and is taken to run once at most. If it could run again, the compiler sees the lender moved.
    fn argument(&mut self, argument: &Expr) {
        let Expr::Closure(closure) = argument else {
            return Visit::visit_expr(self, argument);
        };
        if closure.asyncness.is_none() {
            return Visit::visit_expr(self, argument);
        }
        let before = self.lent;
        let frames = std::mem::take(&mut self.frames);
        let latest = self.latest.take();
        Visit::visit_expr(self, &closure.body);
        // It may return right after it has lent: that ends the closure, not the context.
        self.lent = before.or(self.latest);
        self.latest = self.latest.or(latest);
        self.frames = frames;
    }

    /// Visits what belongs to another function than the context's: nothing in it lends for this one.
    fn foreign(&mut self, place: &'static str, visit: impl FnOnce(&mut Self)) {
        let lent = self.lent;
        let frames = std::mem::take(&mut self.frames);
        let outer = self.foreign.replace(place);
        visit(self);
        self.foreign = outer;
        self.frames = frames;
        self.lent = lent;
    }

    /// Visits the body of a loop, and returns what its `break`s come with.
    fn in_loop(&mut self, label: Option<&Label>, visit: impl FnOnce(&mut Self)) -> Lent {
        let before = self.lent;
        let frame = self.framed(label, true, visit);
        let again = self.lent.or(frame.continued);
        if let (None, Some(span)) = (before, again) {
            self.errors.push(
                span,
                "`lend!` in a loop could lend a second time\n\
                 help: only produce the value in the loop, `let value = loop { … break value; };`, and lend it after; or \
                 leave the loop with `return` or `break` in every case after the `lend!`",
            );
        }
        // Reported once: what follows the loop may count on a value not lent.
        self.lent = before;
        frame.left
    }

    fn framed(&mut self, label: Option<&Label>, is_loop: bool, visit: impl FnOnce(&mut Self)) -> Frame {
        self.frames.push(Frame {
            label: label.map(|label| label.name.clone()),
            is_loop,
            left: NOWHERE,
            continued: NOWHERE,
        });
        visit(self);
        self.frames.pop().expect("the frame pushed above: every visit pops what it pushes")
    }

    /// Where `break` or `continue` leads: `None` if the code is wrong, or leads out of a closure.
    fn target(&mut self, label: Option<&Lifetime>) -> Option<&mut Frame> {
        self.frames.iter_mut().rev().find(|frame| match label {
            Some(label) => frame.label.as_ref() == Some(label),
            None => frame.is_loop,
        })
    }

    /// Visits a branch from `start`, and returns what its end comes with.
    fn branch(&mut self, start: Lent, visit: impl FnOnce(&mut Self)) -> Lent {
        self.lent = start;
        visit(self);
        self.lent
    }
}

impl<'ast> Visit<'ast> for Flow<'_> {
    fn visit_macro(&mut self, mac: &'ast Macro) {
        if lend::is_lend(&mac.path) {
            match lend::parse(mac) {
                Ok(found) => {
                    Visit::visit_expr(self, &found.value);
                    self.lend(mac.path.span());
                }
                Err(error) => {
                    self.count += 1;
                    self.errors.add(error);
                }
            }
            return;
        }
        if let Some(span) = lend::find(mac.tokens.clone()) {
            let outer = mac.path.segments.last().map_or_else(String::new, |last| last.ident.to_string());
            self.count += 1;
            self.errors.push(
                span,
                format!(
                    "`lend!` inside another macro, `{outer}!`, whose words only that macro understands\n\
                     help: lend before it, `let back = lend!(value);`, and use `back` there"
                ),
            );
        }
        if diverges(mac) {
            self.lent = NOWHERE;
        }
    }

    fn visit_stmt(&mut self, statement: &'ast Stmt) {
        let before = self.lent;
        visit::visit_stmt(self, statement);
        // Two statements under opposite `cfg`s are never both there. Which is, the compiler will see.
        if is_conditional(statement) {
            self.lent = before;
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        let Some(init) = &local.init else { return };
        self.visit_expr(&init.expr);
        if let Some((_, diverge)) = &init.diverge {
            let after = self.lent;
            self.visit_expr(diverge);
            self.lent = after;
        }
    }

    fn visit_item(&mut self, item: &'ast Item) {
        self.foreign("a nested item", |flow| visit::visit_item(flow, item));
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if !lend::makes_context(&function.attrs) {
            visit::visit_item_fn(self, function);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !lend::makes_context(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_expr_closure(&mut self, closure: &'ast syn::ExprClosure) {
        self.foreign("a closure", |flow| flow.visit_expr(&closure.body));
    }

    fn visit_expr_async(&mut self, block: &'ast syn::ExprAsync) {
        self.foreign("an `async` block", |flow| flow.visit_block(&block.block));
    }

    fn visit_expr_const(&mut self, block: &'ast syn::ExprConst) {
        self.foreign("a `const` block", |flow| flow.visit_block(&block.block));
    }

    fn visit_expr_yield(&mut self, expr: &'ast syn::ExprYield) {
        self.count += 1;
        self.errors
            .push(expr.yield_token.span, "a context lends its value with `lend!(value)`, not with `yield`");
    }

    fn visit_expr_if(&mut self, expr: &'ast syn::ExprIf) {
        self.visit_expr(&expr.cond);
        let start = self.lent;
        let then = self.branch(start, |flow| flow.visit_block(&expr.then_branch));
        let otherwise = match &expr.else_branch {
            Some((_, branch)) => self.branch(start, |flow| flow.visit_expr(branch)),
            None => start,
        };
        self.lent = then.or(otherwise);
    }

    fn visit_expr_match(&mut self, expr: &'ast syn::ExprMatch) {
        self.visit_expr(&expr.expr);
        let start = self.lent;
        let mut end = NOWHERE;
        for arm in &expr.arms {
            end = end.or(self.branch(start, |flow| flow.visit_arm(arm)));
        }
        self.lent = end;
    }

    fn visit_expr_binary(&mut self, expr: &'ast ExprBinary) {
        self.visit_expr(&expr.left);
        let skipped = self.lent;
        self.visit_expr(&expr.right);
        if matches!(expr.op, BinOp::And(_) | BinOp::Or(_)) {
            self.lent = self.lent.or(skipped);
        }
    }

    fn visit_expr_loop(&mut self, expr: &'ast syn::ExprLoop) {
        self.lent = self.in_loop(expr.label.as_ref(), |flow| flow.visit_block(&expr.body));
    }

    fn visit_expr_while(&mut self, expr: &'ast syn::ExprWhile) {
        let mut ended = NOWHERE;
        let left = self.in_loop(expr.label.as_ref(), |flow| {
            flow.visit_expr(&expr.cond);
            ended = flow.lent;
            flow.visit_block(&expr.body);
        });
        self.lent = ended.or(left);
    }

    fn visit_expr_for_loop(&mut self, expr: &'ast syn::ExprForLoop) {
        self.visit_expr(&expr.expr);
        let ended = self.lent;
        let left = self.in_loop(expr.label.as_ref(), |flow| flow.visit_block(&expr.body));
        self.lent = ended.or(left);
    }

    fn visit_expr_block(&mut self, expr: &'ast syn::ExprBlock) {
        let frame = self.framed(expr.label.as_ref(), false, |flow| {
            flow.visit_block(&expr.block);
        });
        self.lent = self.lent.or(frame.left);
    }

    fn visit_expr_break(&mut self, expr: &'ast syn::ExprBreak) {
        visit::visit_expr_break(self, expr);
        let lent = self.lent;
        if let Some(frame) = self.target(expr.label.as_ref()) {
            frame.left = frame.left.or(lent);
        }
        self.lent = NOWHERE;
    }

    fn visit_expr_continue(&mut self, expr: &'ast syn::ExprContinue) {
        let lent = self.lent;
        if let Some(frame) = self.target(expr.label.as_ref()) {
            frame.continued = frame.continued.or(lent);
        }
        self.lent = NOWHERE;
    }

    fn visit_expr_return(&mut self, expr: &'ast syn::ExprReturn) {
        visit::visit_expr_return(self, expr);
        self.lent = NOWHERE;
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.visit_expr(&call.receiver);
        for argument in &call.args {
            self.argument(argument);
        }
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        self.visit_expr(&call.func);
        for argument in &call.args {
            self.argument(argument);
        }
        let Expr::Path(function) = &*call.func else {
            return;
        };
        let last = function.path.segments.last();
        if last
            .is_some_and(|last| last.ident == "exit" || last.ident == "abort" || last.ident == "resume_unwind")
        {
            self.lent = NOWHERE;
        }
    }
}

/// Whether a macro is one of the well-known ones after which control does not go on.
fn diverges(mac: &Macro) -> bool {
    let last = mac.path.segments.last();
    last.is_some_and(|last| {
        ["panic", "unreachable", "todo", "unimplemented", "bail"].iter().any(|name| last.ident == name)
    })
}

/// Whether a statement may be left out by a `cfg`.
fn is_conditional(statement: &Stmt) -> bool {
    let attrs: &[Attribute] = match statement {
        Stmt::Local(local) => &local.attrs,
        Stmt::Macro(mac) => &mac.attrs,
        Stmt::Expr(expr, _) => attrs_of(expr),
        Stmt::Item(_) => &[],
    };
    attrs.iter().any(|attr| attr.path().is_ident("cfg"))
}

/// The attributes of the expressions that can stand as a statement with an attribute.
fn attrs_of(expr: &Expr) -> &[Attribute] {
    match expr {
        Expr::Await(expr) => &expr.attrs,
        Expr::Block(expr) => &expr.attrs,
        Expr::Call(expr) => &expr.attrs,
        Expr::ForLoop(expr) => &expr.attrs,
        Expr::If(expr) => &expr.attrs,
        Expr::Loop(expr) => &expr.attrs,
        Expr::Macro(expr) => &expr.attrs,
        Expr::Match(expr) => &expr.attrs,
        Expr::MethodCall(expr) => &expr.attrs,
        Expr::Try(expr) => &expr.attrs,
        Expr::Unsafe(expr) => &expr.attrs,
        Expr::While(expr) => &expr.attrs,
        _ => &[],
    }
}
