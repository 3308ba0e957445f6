//! Every suspension cancelled, every step failed and made to panic: afterwards everything is closed, clean, and
//! nothing is lost.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tenure::with;
use tenure_pool::{BoxError, Context, CreateContext, GetError, LeaseEnd, Manager, Next, Pool, PoolError};
use tenure_test::{Fault, Proof, Recorder, Report};

use crate::support::{Act, Op, Probe, Thing};

/// A probe whose every operation suspends first, and may be made to fail there.
struct Stepping {
    probe: Probe,
    recorder: Recorder,
}

impl Manager for Stepping {
    type Resource = Thing;
    type Error = BoxError;

    async fn create(&self, context: CreateContext) -> Result<Thing, BoxError> {
        let step = self.recorder.step("create").await;
        // After it, or the step would leave a resource behind that nobody owns.
        step?;
        Ok(self.probe.create(context).await?)
    }

    async fn reset(&self, thing: &mut Thing, context: Context) -> Result<(), BoxError> {
        self.recorder.step("reset").await?;
        Ok(self.probe.reset(thing, context).await?)
    }

    async fn check(&self, thing: &mut Thing, context: Context) -> Result<(), BoxError> {
        self.recorder.step("check").await?;
        Ok(self.probe.check(thing, context).await?)
    }

    async fn close(&self, thing: Thing, context: Context) -> Result<(), BoxError> {
        self.recorder.step("close").await?;
        Ok(self.probe.close(thing, context).await?)
    }

    fn assess(&self, thing: &mut Thing, end: LeaseEnd<'_>) -> Next {
        self.probe.assess(thing, end)
    }
}

#[derive(Debug)]
#[expect(dead_code, reason = "what a failing proof prints")]
enum Oops {
    Fault(Fault),
    Get(GetError),
    Pool(PoolError),
}

impl From<Fault> for Oops {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<GetError> for Oops {
    fn from(error: GetError) -> Self {
        Self::Get(error)
    }
}

impl From<PoolError> for Oops {
    fn from(error: PoolError) -> Self {
        Self::Pool(error)
    }
}

/// A pool of two of which one is held while another is got, used, and got again.
async fn story(probe: Probe, recorder: Recorder) -> Result<(), Oops> {
    let manager = Stepping { probe, recorder: recorder.clone() };
    let pool = Pool::builder(manager)
        .max_size(2)
        .min_idle(1)
        .check_after(Duration::ZERO)
        .get_timeout(Duration::from_secs(20))
        .build()
        .expect("the sizes are sound");
    with(pool, async |pool| {
        with(pool.get(), async |first| {
            first.begin();
            with(pool.get(), async |second| {
                second.begin();
                recorder.step("query of the second").await?;
                second.end();
                Ok::<_, Oops>(())
            })
            .await?;
            recorder.step("query of the first").await?;
            first.end();
            Ok::<_, Oops>(())
        })
        .await?;
        let mut bare = pool.get().await?;
        bare.begin();
        recorder.step("query with a bare lease").await?;
        bare.end();
        Ok::<_, Oops>(())
    })
    .await
}

/// Proves something of the story: after each run nothing is open, and no law was broken.
#[track_caller]
fn prove(proof: Proof, way: impl FnOnce(&Proof, &(dyn Fn(Recorder) -> Story + Sync)) -> Report) -> Report {
    let latest = Arc::new(Mutex::new(Probe::new()));
    let checked = Arc::clone(&latest);
    let proof = proof.check(move |_| {
        let probe = checked.lock().unwrap().clone();
        async move {
            probe.assert_all_closed(2);
            Ok(())
        }
    });
    way(&proof, &move |recorder| {
        let probe = Probe::new();
        probe.always(Op::Create, 3, Act::Succeed);
        *latest.lock().unwrap() = probe.clone();
        Box::pin(story(probe, recorder))
    })
}

type Story = std::pin::Pin<Box<dyn Future<Output = Result<(), Oops>> + Send>>;

#[test]
fn laws_hold_when_cancelled_at_every_suspension() {
    let report = prove(Proof::new(), |proof, story| proof.cancel_everywhere(story));
    assert!(report.suspensions >= 8, "{report:?}");
}

#[test]
fn laws_hold_when_every_step_fails_and_panics() {
    let report = prove(Proof::new(), |proof, story| proof.fail_everywhere(story));
    assert!(report.runs >= 20, "{report:?}");
}

#[test]
fn laws_hold_when_every_step_fails_and_the_rest_is_cancelled() {
    let proof = Proof::new().flavour(tenure_test::Flavour::CurrentThread).and_cancel();
    let report = prove(proof, |proof, story| proof.fail_everywhere(story));
    assert!(report.runs >= 100, "{report:?}");
}
