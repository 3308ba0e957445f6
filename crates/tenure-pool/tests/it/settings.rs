//! Settings: read back, taken over, and read from a configuration.

use std::time::Duration;

use tenure_pool::{Codel, Order, Pool, Settings};

use crate::support::Probe;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn settings_are_read_back() {
    let pool = Probe::new().pool().name("orders").max_size(7).min_idle(2).max_waiting(9).build().unwrap();
    let settings = pool.settings();
    assert_eq!((settings.name.as_str(), settings.max_size, settings.min_idle), ("orders", 7, 2));
    assert_eq!((settings.max_waiting, settings.fail_fast), (9, false));
    assert_eq!(settings.get_timeout, Some(30 * SECOND));
    assert!(settings.create_timeout <= Some(10 * SECOND), "well below that of a get");
    assert_eq!(settings.keepalive, None);
    pool.set_get_timeout(None);
    pool.resize(3).unwrap();
    assert_eq!((pool.settings().get_timeout, pool.settings().max_size), (None, 3));
}

#[test]
fn settings_are_taken_over_whole() {
    let probe = Probe::new();
    let pool = probe.pool().name("one").max_size(7).min_idle(2).order(Order::Fifo).max_waiting(9);
    let pool = pool.parallel_creates(3).create_backoff(SECOND, 3 * SECOND).fail_fast(true).measure_all(true);
    let pool = pool.codel(Codel::new(SECOND, 2 * SECOND)).get_timeout(4 * SECOND).create_timeout(None);
    let pool = pool.check_timeout(5 * SECOND).reset_timeout(6 * SECOND).close_timeout(7 * SECOND);
    let pool = pool.max_lifetime(None).idle_timeout(8 * SECOND).keepalive(9 * SECOND).check_after(None);
    let pool = pool.leak_threshold(10 * SECOND).drain_timeout(11 * SECOND).without_pooling().build().unwrap();
    let settings = pool.settings();
    assert_ne!(settings, Settings::default());
    let other = Pool::builder(Probe::new()).settings(&settings).build().unwrap();
    assert_eq!(other.settings(), settings);
    let plain = Pool::builder(Probe::new()).build().unwrap();
    assert_eq!(plain.settings(), Settings::default());
}

#[cfg(feature = "serde")]
#[test]
fn settings_are_read_from_a_configuration() {
    let read = |text: &str| serde_json::from_str::<Settings>(text);
    assert_eq!(read("{}").unwrap(), Settings::default());
    let settings = read(
        r#"{ "name": "db", "max_size": 3, "order": "fifo", "max_waiting": 5, "create_backoff": ["5ms", "1s"],
             "codel": { "target": "50ms", "interval": "2s" }, "get_timeout": "1m 30s", "check_after": "0s",
             "max_lifetime": "none", "keepalive": null, "fail_fast": true }"#,
    )
    .unwrap();
    assert_eq!((settings.max_size, settings.order, settings.max_waiting), (3, Order::Fifo, 5));
    assert_eq!(settings.get_timeout, Some(90 * SECOND));
    assert_eq!((settings.check_after, settings.max_lifetime), (Some(Duration::ZERO), None));
    for settings in [settings, Settings::default()] {
        let text = serde_json::to_string(&settings).unwrap();
        assert_eq!(read(&text).unwrap(), settings, "{text}");
    }
    for wrong in [
        r#"{ "max_sise": 3 }"#,
        r#"{ "get_timeout": "soon" }"#,
        r#"{ "get_timeout": 30 }"#,
        r#"{ "max_waiting": -1 }"#,
        r#"{ "order": "random" }"#,
        r#"{ "codel": { "target": "50ms" } }"#,
    ] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}
