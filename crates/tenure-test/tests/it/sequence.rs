//! The sequencer and the runtimes.

use std::time::{Duration, Instant};

use tenure_test::{Flavour, Recorder, Sequencer, both_flavours, paused};

#[test]
fn turns_come_in_order_whatever_the_order_of_tasks() {
    both_flavours(|_| async {
        let (recorder, sequence) = (Recorder::new(), Sequencer::new());
        let tasks = [2, 0, 3, 1].map(|turn| {
            let (recorder, sequence) = (recorder.clone(), sequence.clone());
            tokio::spawn(async move {
                let _turn = sequence.turn(turn).await;
                tokio::task::yield_now().await;
                recorder.note(turn.to_string());
            })
        });
        for task in tasks {
            task.await.unwrap();
        }
        recorder.trace().assert_exactly(["0", "1", "2", "3"]);
    });
}

#[test]
fn a_taker_that_is_dropped_breaks_the_sequence_loudly() {
    paused().block_on(async {
        let sequence = Sequencer::new();
        let waits = tokio::time::timeout(Duration::from_secs(1), sequence.turn(1));
        waits.await.unwrap_err();
        let later = tokio::spawn({
            let sequence = sequence.clone();
            async move { drop(sequence.turn(2).await) }
        });
        let panic = later.await.unwrap_err().into_panic();
        let text = panic.downcast_ref::<String>().unwrap();
        assert!(text.contains("turn 1 was dropped before it began"), "{text}");
    });
}

#[test]
#[should_panic(expected = "turn 0 of the sequence was taken before")]
fn a_turn_is_taken_once() {
    paused().block_on(async {
        let sequence = Sequencer::new();
        drop(sequence.turn(0).await);
        drop(sequence.turn(0).await);
    });
}

#[test]
fn a_paused_clock_does_not_wait() {
    let begun = Instant::now();
    paused().block_on(async { tokio::time::sleep(Duration::from_secs(3600)).await });
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[test]
fn both_flavours_are_two() {
    let mut seen = Vec::new();
    both_flavours(|flavour| {
        seen.push(flavour);
        async {}
    });
    assert_eq!(seen, Flavour::ALL);
}
