//! Handlers and response bodies that do as they are told.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tenure_http::{RequestScope, RequestScopeBody, RequestScopeLayer, RequestScopeService};
use tower::util::BoxCloneSyncService;
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::support::Log;

/// A body of frames, each ready at once, and what comes after them.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) frames: Vec<Frame<Bytes>>,
    pub(crate) end: End,
    pub(crate) hint: SizeHint,
}

#[derive(Debug)]
pub(crate) enum End {
    Ends,
    Fails,
    Panics,
    Waits,
}

impl Script {
    pub(crate) fn new(chunks: &[&'static str], end: End) -> Self {
        let frames = chunks.iter().rev().map(|chunk| Frame::data(Bytes::from_static(chunk.as_bytes())));
        Self { frames: frames.collect(), end, hint: SizeHint::default() }
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        match (self.frames.pop(), &self.end) {
            (Some(frame), _) => Poll::Ready(Some(Ok(frame))),
            (None, End::Ends) => Poll::Ready(None),
            (None, End::Fails) => Poll::Ready(Some(Err("broken"))),
            (None, End::Panics) => panic!("the body is out of order"),
            (None, End::Waits) => Poll::Pending,
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

pub(crate) type Scripted = BoxCloneSyncService<Request<()>, Response<Script>, String>;

/// A service whose handler does this with its scope.
pub(crate) fn service<F, Fut>(layer: &RequestScopeLayer, log: &Log, then: F) -> RequestScopeService<Scripted>
where
    F: Fn(RequestScope, Log) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Response<Script>, String>> + Send + 'static,
{
    let log = log.clone();
    let service = service_fn(move |request: Request<()>| {
        let scope = request.extensions().get::<RequestScope>().unwrap().clone();
        then(scope, log.clone())
    });
    layer.layer(BoxCloneSyncService::new(service))
}

/// A request whose handler does this with its scope and answers with nothing.
pub(crate) async fn answered<F, Fut>(log: &Log, then: F) -> RequestScopeBody<Script>
where
    F: Fn(RequestScope, Log) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let service = service(&RequestScopeLayer::new(), log, move |scope, log| {
        let then = then(scope, log);
        async move {
            then.await;
            Ok(Response::new(Script::new(&[], End::Ends)))
        }
    });
    service.oneshot(Request::new(())).await.unwrap().into_body()
}

/// Reads a body that has no frames to its end, as a server does.
pub(crate) async fn read(body: RequestScopeBody<Script>) {
    assert!(frame(pin!(body)).await.is_none());
}

/// The next frame.
pub(crate) async fn frame(
    body: Pin<&mut RequestScopeBody<Script>>,
) -> Option<Result<Frame<Bytes>, &'static str>> {
    let mut body = body;
    std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await
}
