//! The page, as people see it: in a real browser, on a wide screen and on a phone.
//!
//! `cargo xtask test --only browser` finds or installs the browser.
#![expect(clippy::unwrap_used, reason = "what fails to prepare fails its test")]

mod driver;
#[expect(dead_code, reason = "others use the rest")]
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use driver::Driver;
use fantoccini::{Client, Locator};
use serde_json::Value;
use support::bank::Site;
use support::http::{begin_order, order, post};

/// How long the page may take to show what has happened: it is told every second.
const LIMIT: Duration = Duration::from_secs(30);

/// Waits until this script, a function's body, yields true on the page.
async fn wait_for(page: &Client, script: &str) {
    let began = std::time::Instant::now();
    loop {
        let seen = page.execute(script, Vec::new()).await.unwrap();
        if seen == Value::Bool(true) {
            return;
        }
        assert!(began.elapsed() < LIMIT, "it is not so: {script}\n{}", text(page, "body").await);
    }
}

async fn text(page: &Client, selector: &str) -> String {
    page.find(Locator::Css(selector)).await.unwrap().text().await.unwrap()
}

/// The value of a counter.
async fn counter(page: &Client, label: &str) -> String {
    let script = "return [...document.querySelectorAll('#counters dt')]
                      .find((label) => label.textContent === arguments[0]).nextElementSibling.textContent";
    let value = page.execute(script, vec![label.into()]).await.unwrap();
    value.as_str().unwrap().to_owned()
}

/// Waits until the page has shown the first answers.
async fn open(page: &Client, address: &str) {
    page.goto(&format!("http://{address}/")).await.unwrap();
    wait_for(page, "return document.querySelectorAll('#accounts tbody tr').length === 20").await;
}

async fn move_money(page: &Client, payer: &str, payee: &str, amount: &str) {
    for (name, value) in [("payer", payer), ("payee", payee), ("amount", amount)] {
        let field = page.find(Locator::Css(&format!("#transfer [name={name}]"))).await.unwrap();
        field.clear().await.unwrap();
        field.send_keys(value).await.unwrap();
    }
    page.find(Locator::Css("#transfer button")).await.unwrap().click().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_accounts_counters_and_what_is_held_as_they_change() {
    let site = Site::new();
    let service = site.serve::<&str>([]);
    let driver = Driver::start();
    let page = driver.window(1200, 900, false).await;
    open(&page, &service.address).await;
    assert!(text(&page, "#status").await.starts_with("on SQLite, up "));
    assert_eq!(text(&page, "#shown").await, "1 – 20 of 1,000");
    assert_eq!(counter(&page, "transfers made").await, "0");

    // Somebody else moves money, and the page shows it by itself.
    assert_eq!(post(&service.address, "/transfers", &order(3, 4, 12_345)).status, 201);
    wait_for(
        &page,
        "const rows = [...document.querySelectorAll('#accounts tbody tr')].map((row) => row.innerText);
         return rows[2].includes('876.55') && rows[3].includes('1,123.45')",
    )
    .await;
    assert_eq!(counter(&page, "transfers made").await, "1");

    // A request that does not end is held, and the page says where and for how long.
    let held = "return [...document.querySelectorAll('#held tbody tr')].filter((row) => \
                row.cells[0].textContent.startsWith('HTTP connection') && \
                row.cells[1].textContent.includes('tenure-http/src/serve/') && \
                / s$/.test(row.cells[2].textContent)).length";
    let (half, _) = begin_order(&service.address);
    let by_browser = page.execute(held, Vec::new()).await.unwrap().as_u64().unwrap();
    wait_for(&page, &format!("{held} > {by_browser}")).await;
    drop(half);
    page.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn money_is_moved_by_hand_and_pages_are_turned() {
    let site = Site::new();
    let service = site.serve::<&str>([]);
    let driver = Driver::start();
    let page = driver.window(1100, 900, false).await;
    open(&page, &service.address).await;

    move_money(&page, "5", "6", "2.50").await;
    wait_for(&page, "return document.querySelector('#moved').textContent === 'account 5 has 997.50 left'")
        .await;
    wait_for(&page, "return document.querySelector('#accounts').innerText.includes('1,002.50')").await;
    move_money(&page, "5", "6", "5000").await;
    wait_for(&page, "return document.querySelector('#moved').textContent === 'the payer has not enough money'")
        .await;

    page.find(Locator::Css("#next")).await.unwrap().click().await.unwrap();
    wait_for(&page, "return document.querySelector('#shown').textContent === '21 – 40 of 1,000'").await;
    page.find(Locator::Css("#previous")).await.unwrap().click().await.unwrap();
    wait_for(&page, "return document.querySelector('#shown').textContent === '1 – 20 of 1,000'").await;
    wait_for(&page, "return document.querySelector('#previous').disabled").await;
    page.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_says_when_the_bank_is_gone() {
    let site = Site::new();
    let service = site.serve::<&str>([]);
    let driver = Driver::start();
    let page = driver.window(1000, 900, false).await;
    open(&page, &service.address).await;
    service.signal("TERM");
    let ended = service.ended();
    assert_eq!(ended.code, Some(143), "{ended:?}");
    ended.assert_nothing_lost();
    wait_for(&page, "return document.querySelector('#status').textContent === 'the bank does not answer'")
        .await;
    page.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_usable_on_a_phone() {
    let site = Site::new();
    let service = site.serve::<&str>([]);
    let driver = Driver::start();
    let page = driver.window(360, 740, true).await;
    open(&page, &service.address).await;
    // Nothing has to be scrolled sideways, and nothing to be touched is smaller than a finger.
    let width = "return [document.documentElement.scrollWidth, window.innerWidth]";
    assert_eq!(page.execute(width, Vec::new()).await.unwrap(), serde_json::json!([360, 360]));
    let smallest = "return Math.min(...[...document.querySelectorAll('button, input')] \
                    .map((control) => control.getBoundingClientRect().height))";
    assert!(page.execute(smallest, Vec::new()).await.unwrap().as_f64().unwrap() >= 44.0);
    // Fields are large enough that phones do not zoom in on them.
    let font = "return getComputedStyle(document.querySelector('input')).fontSize";
    assert_eq!(page.execute(font, Vec::new()).await.unwrap(), "16px");

    move_money(&page, "1", "2", "1").await;
    wait_for(&page, "return document.querySelector('#moved').textContent === 'account 1 has 999.00 left'")
        .await;
    wait_for(&page, "return document.querySelectorAll('#held tbody tr').length > 0").await;
    if let Some(picture) = std::env::var_os("TENURE_SCREENSHOT") {
        std::fs::write(picture, page.screenshot().await.unwrap()).unwrap();
    }
    page.close().await.unwrap();
}
