#![doc = include_str!("../README.md")]

pub mod http;
pub mod image;
pub mod process;
pub mod registry;
pub mod wait;
