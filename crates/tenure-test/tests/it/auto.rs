//! Auto traits of what is public: a change of one of them is a breaking change.

use tenure_test::{
    Act, At, CancelBy, Entering, Event, Fault, Hang, Leak, Proof, Recorded, Recorder, Recovering,
    RecoveringResource, Report, Resource, Run, Sequencer, Suspend, Trace, Turn, Violation,
};

const fn send<T: Send>() {}
const fn send_sync_unpin<T: Send + Sync + Unpin>() {}

#[test]
fn types_are_send_sync_and_unpin() {
    send_sync_unpin::<(Act, CancelBy, Event, Fault, Leak, Proof, Report, Run)>();
    send_sync_unpin::<(Recorded, Recorder, Recovering, RecoveringResource, Resource)>();
    send_sync_unpin::<(Sequencer, Trace, Turn, Violation)>();
    send_sync_unpin::<(Suspend, Hang<u8>, At<std::future::Ready<()>>)>();
    // An enter is polled by one task: it is not `Sync`.
    send::<Entering<Recorded>>();
}

#[test]
fn futures_are_send() {
    fn check<F: Future + Send>(_: F) {}
    let recorder = Recorder::new();
    check(recorder.step("a"));
    check(recorder.at("a", async {}));
    check(Sequencer::new().turn(0));
    check(tenure_test::hang::<std::rc::Rc<u8>>());
}
