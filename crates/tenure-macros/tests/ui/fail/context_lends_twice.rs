//! Lending a second time, on every way to it that syntax shows.

use tenure::NeverLent;

#[derive(Debug)]
struct Error;

impl From<NeverLent> for Error {
    fn from(_: NeverLent) -> Self {
        Error
    }
}

#[tenure::context]
async fn in_sequence() -> Result<u8, Error> {
    lend!(1);
    lend!(2);
    Ok(())
}

#[tenure::context]
async fn one_within_the_other() -> Result<u8, Error> {
    lend!(lend!(1).value);
    Ok(())
}

#[tenure::context]
async fn after_a_branch(early: bool) -> Result<u8, Error> {
    if early {
        lend!(1);
    }
    lend!(2);
    Ok(())
}

#[tenure::context]
async fn after_a_match(n: u8) -> Result<u8, Error> {
    match n {
        0 => return Err(Error),
        1 => drop(lend!(1)),
        _ => {}
    }
    lend!(2);
    Ok(())
}

#[tenure::context]
async fn after_a_way_out(done: bool) -> Result<u8, Error> {
    lend!(1);
    let _ = done || return Ok(());
    lend!(2);
    Ok(())
}

#[tenure::context]
async fn after_a_loop(n: u8) -> Result<u8, Error> {
    'outer: for m in 0..n {
        loop {
            if m == 3 {
                lend!(1);
                break 'outer;
            }
            continue 'outer;
        }
    }
    lend!(2);
    Ok(())
}

#[tenure::context]
async fn after_a_nested_body() -> Result<u8, Error> {
    tenure::with(in_sequence(), async |_| {
        if true {
            lend!(1);
            return Ok::<_, Error>(());
        }
        Ok(())
    })
    .await?;
    lend!(2);
    Ok(())
}

fn main() {}
