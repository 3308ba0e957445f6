//! `#[tenure::within]`: a context around every call of a function.

use std::sync::Arc;

use tenure::Verdict;

use crate::trace::{Error, Trace, word};

#[tenure::context]
async fn traced(trace: Trace, name: String) -> Result<String, Error> {
    trace.push(format!("enter {name}"));
    let back = lend!(name);
    let outcome = back.look(word).await;
    trace.push(format!("exit {}, {outcome}", back.value));
    Ok(())
}

#[tenure::within(traced(trace.clone(), "a".into()))]
async fn divide(trace: &Trace, n: u32, by: u32) -> Result<u32, Error> {
    trace.push("body");
    if by == 0 {
        return Err(Error::Body);
    }
    Ok(n / by)
}

#[tenure::test]
async fn b199_each_call_enters_before_and_exits_after() {
    let trace = Trace::new();
    for _ in 0..2 {
        assert_eq!(divide(&trace, 6, 2).await, Ok(3));
        trace.expect(&["enter a", "body", "exit a, completed"]);
    }
}

#[tenure::test]
async fn b200_the_exit_is_told_of_the_failure() {
    let trace = Trace::new();
    assert_eq!(divide(&trace, 6, 0).await, Err(Error::Body));
    trace.expect(&["enter a", "body", "exit a, failed: Body"]);
}

#[tenure::context(recovering)]
async fn forgiving(trace: Trace) -> Result<(), Error> {
    let back = lend!(());
    trace.push(back.look(word).await);
    Ok(Verdict::Recover)
}

#[tenure::within(recovering, forgiving(trace.clone()))]
#[tenure::within(traced(trace.clone(), "a".into()))]
async fn forgiven(trace: &Trace, fail: bool) -> Result<Option<u8>, Error> {
    if fail {
        return Err(Error::Body);
    }
    Ok(1)
}

#[tenure::test]
async fn b200_a_recovering_context_suppresses_the_failure() {
    let trace = Trace::new();
    assert_eq!(forgiven(&trace, true).await, Ok(None));
    trace.expect(&["enter a", "exit a, failed: Body", "failed: Body"]);
    assert_eq!(forgiven(&trace, false).await, Ok(Some(1)));
    trace.expect(&["enter a", "exit a, completed", "completed"]);
}

struct Service {
    trace: Trace,
    calls: String,
}

impl Service {
    /// A context of the service's own (B204: one that is its own decorator).
    fn span(&self, name: &str) -> impl Future<Output = Result<tenure::Lent<String, Error>, Error>> + use<> {
        traced(self.trace.clone(), name.to_owned())
    }

    #[tenure::within(self.span("shared"))]
    async fn shared(&self, n: u8) -> Result<(u8, &str), Error> {
        Ok((n, &self.calls))
    }

    #[tenure::within(name = self.span("exclusive"))]
    async fn exclusive<'a>(&'a mut self, suffix: &str) -> Result<&'a str, Error> {
        self.calls.push_str(name);
        self.calls.push_str(suffix);
        Ok(&self.calls)
    }

    #[tenure::within(self.span("owned"))]
    async fn owned(mut self) -> Result<String, Error> {
        self.calls.push('.');
        Ok(self.calls)
    }

    #[tenure::within(self.span("arc"))]
    async fn arc(self: Arc<Self>) -> Result<Arc<Self>, Error> {
        Ok(self)
    }
}

#[tenure::test]
async fn b201_methods_get_self_and_their_arguments() {
    let trace = Trace::new();
    let mut service = Service { trace: trace.clone(), calls: String::new() };
    assert_eq!(service.exclusive("!").await, Ok("exclusive!"));
    assert_eq!(service.shared(3).await, Ok((3, "exclusive!")));
    assert_eq!(service.owned().await, Ok("exclusive!.".to_owned()));
    trace.expect(&[
        "enter exclusive",
        "exit exclusive, completed",
        "enter shared",
        "exit shared, completed",
        "enter owned",
        "exit owned, completed",
    ]);
    let service = Arc::new(Service { trace: trace.clone(), calls: String::new() });
    let same = Arc::clone(&service).arc().await.unwrap();
    assert!(Arc::ptr_eq(&same, &service));
}

trait Works {
    async fn work(&self) -> Result<u8, Error>;
}

impl Works for Service {
    #[tenure::within(self.span("trait"))]
    async fn work(&self) -> Result<u8, Error> {
        Ok(1)
    }
}

#[tenure::test]
async fn the_method_of_a_trait_can_be_wrapped() {
    let service = Service { trace: Trace::new(), calls: String::new() };
    assert_eq!(service.work().await, Ok(1));
    service.trace.expect(&["enter trait", "exit trait, completed"]);
}

#[tenure::within(a = traced(trace.clone(), "a".into()))]
#[doc = "Attributes may stand between."]
#[tenure::within(b = traced(trace.clone(), format!("{}b", a.as_str())))]
#[tenure::within(traced(trace.clone(), format!("{}c", b.as_str())))]
async fn nested(trace: Trace) -> Result<usize, Error> {
    a.push('!');
    trace.push("body");
    Ok(a.len() + b.len())
}

#[tenure::test]
async fn the_topmost_context_is_the_outermost() {
    let trace = Trace::new();
    assert_eq!(nested(trace.clone()).await, Ok(4));
    trace.expect(&[
        "enter a",
        "enter ab",
        "enter abc",
        "body",
        "exit abc, completed",
        "exit ab, completed",
        "exit a!, completed",
    ]);
}

#[tenure::within(traced(trace, "a".into()))]
async fn opaque(trace: Trace, items: Vec<u8>) -> Result<impl Iterator<Item = u8>, Error> {
    Ok::<_, Error>(items.into_iter().rev())
}

#[tenure::within(traced(trace, "a".into()))]
async fn coerced(trace: Trace, bytes: &[u8; 2]) -> Result<&[u8], Box<dyn std::error::Error + Send + Sync>> {
    if bytes == &[0, 0] {
        return Err(Box::new(std::fmt::Error));
    }
    Ok(bytes)
}

#[tenure::test]
async fn returned_values_of_every_kind_pass() {
    let trace = Trace::new();
    let items = opaque(trace.clone(), vec![1, 2, 3]).await.unwrap();
    assert!(items.eq([3, 2, 1]));
    assert_eq!(coerced(trace.clone(), &[1, 2]).await.unwrap(), [1, 2]);
    assert!(coerced(trace.clone(), &[0, 0]).await.is_err());
}

#[tenure::test]
async fn a_wrapped_call_can_be_spawned() {
    let trace = Trace::new();
    let task = tokio::spawn({
        let trace = trace.clone();
        async move { divide(&trace, 4, 2).await }
    });
    assert_eq!(task.await.unwrap(), Ok(2));
}
