//! The macros, from outside.

mod context;
mod entry;
mod trace;
mod ui;
mod within;
