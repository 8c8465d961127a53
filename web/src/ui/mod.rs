//! The kit: about twenty small widgets over Tailwind and daisyUI classes. No `style` attributes, native elements
//! first, names and roles for assistive technology built in.

mod act;
mod basics;
mod chart;
mod code;
mod dialog;
mod field;
mod form;
mod head;
mod impact;
mod once;
mod pager;
mod palette;
mod shell;
mod span;
mod switch;
mod table;
mod tabs;
mod theme;
mod time;
mod toast;

pub(crate) use act::*;
pub(crate) use basics::*;
pub(crate) use chart::*;
pub(crate) use code::*;
pub(crate) use dialog::*;
pub(crate) use field::*;
pub(crate) use form::*;
pub(crate) use head::*;
pub(crate) use impact::*;
pub(crate) use once::*;
pub(crate) use pager::*;
pub(crate) use palette::*;
pub(crate) use shell::*;
pub(crate) use span::*;
pub(crate) use switch::*;
pub(crate) use table::*;
pub(crate) use tabs::*;
pub(crate) use theme::*;
pub(crate) use time::*;
pub(crate) use toast::*;
