#![doc = include_str!("../README.md")]

pub mod commands;
pub mod config;
mod credentials;
mod database;
mod demo;
mod fakes;
pub mod hub;
pub mod routes;
pub mod telemetry;
