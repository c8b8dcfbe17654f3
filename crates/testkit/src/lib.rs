#![doc = include_str!("../README.md")]

pub mod amqp;
pub mod certs;
pub mod dns;
pub mod http;
pub mod http2;
pub mod image;
pub mod mail;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod rabbitmq;
pub mod receiver;
pub mod registry;
pub mod relay;
pub mod verifier;
pub mod wait;
