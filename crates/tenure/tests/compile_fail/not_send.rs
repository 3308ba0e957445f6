//! A resource may exit on another thread.
use std::rc::Rc;

use tenure::{AsyncExit, Outcome};

struct Local(Rc<()>);

impl AsyncExit for Local {
    type Error = std::io::Error;

    async fn exit(self, _: Outcome<'_>) -> std::io::Result<()> {
        Ok(())
    }
}

fn main() {}
