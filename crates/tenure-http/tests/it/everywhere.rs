//! A request dropped, failed and panicked at each of its suspensions: whatever it entered is exited, in order.

use std::convert::Infallible;
use std::pin::pin;

use http::{Request, Response};
use tenure::with;
use tenure_http::{OnDisconnect, RequestScope, RequestScopeLayer};
use tenure_test::{Fault, Proof, Recorder};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::script::{End, Script, frame};

/// A handler that uses its scope before, inside and after another tenure.
async fn handler(request: Request<Recorder>) -> Result<Response<Script>, Fault> {
    let recorder = request.body();
    let scope = request.extensions().get::<RequestScope>().expect("the layer is there").clone();
    let _connection = scope.enter(recorder.resource("connection")).await.map_err(entered)?;
    with(recorder.resource("inner"), async |_| recorder.step("inside").await).await?;
    let _transaction = scope.enter(recorder.resource("transaction")).await.map_err(entered)?;
    recorder.step("after").await?;
    Ok(Response::new(Script::new(&["x"], End::Ends)))
}

fn entered(error: tenure_http::EnterError<Fault>) -> Fault {
    error.into_enter().expect("the request is not over")
}

/// Calls it, and reads the response as a server does.
async fn request(layer: RequestScopeLayer, recorder: Recorder) -> Result<(), Fault> {
    let response = layer.layer(service_fn(handler)).oneshot(Request::new(recorder.clone())).await?;
    let mut body = pin!(response.into_body());
    let Some(Ok(_)) = frame(body.as_mut()).await else {
        return Ok(());
    };
    recorder.step("amid the body").await?;
    assert!(frame(body.as_mut()).await.is_none());
    Ok(())
}

#[test]
fn law_07_cancelled_everywhere() {
    for choice in [OnDisconnect::Cancel, OnDisconnect::Complete] {
        let report = Proof::new()
            .cancel_everywhere(|recorder| request(RequestScopeLayer::new().on_disconnect(choice), recorder));
        assert!(report.suspensions >= 6, "{report:?}");
    }
}

#[test]
fn law_07_failed_and_panicked_everywhere() {
    let report = Proof::new()
        .pairs()
        .allow_panics()
        .fail_everywhere(|recorder| request(RequestScopeLayer::new(), recorder));
    assert!(report.runs > 50, "{report:?}");
}

#[test]
fn law_07_failed_and_cancelled_everywhere() {
    let report = Proof::new()
        .and_cancel()
        .allow_panics()
        .fail_everywhere(|recorder| request(RequestScopeLayer::new(), recorder));
    assert!(report.runs > 50, "{report:?}");
}

#[test]
fn law_10_an_enter_that_is_dropped_leaves_its_place_empty() {
    let report = Proof::new().cancel_everywhere(async |recorder: Recorder| {
        let service = service_fn(async |request: Request<Recorder>| {
            let scope = request.extensions().get::<RequestScope>().expect("the layer is there").clone();
            let recorder = request.into_body();
            let _first = scope.enter(recorder.resource("first")).await;
            tokio::select! {
                biased;
                _ = scope.enter(recorder.resource("slow")) => {}
                () = tokio::task::yield_now() => {}
            }
            let _second = scope.enter(recorder.resource("second")).await;
            Ok::<_, Infallible>(Response::new(Script::new(&[], End::Ends)))
        });
        let Ok(response) = RequestScopeLayer::new().layer(service).oneshot(Request::new(recorder)).await;
        assert!(frame(pin!(response.into_body())).await.is_none());
    });
    assert!(report.suspensions >= 3, "{report:?}");
}
