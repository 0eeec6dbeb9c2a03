//! The command line of the hub.

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    let command = crosstie::commands::Cli::parse();
    match crosstie::commands::run(command).await {
        Ok(code) => code,
        Err(error) => {
            let mut said = error.to_string();
            eprintln!("error: {said}");
            let mut cause = error.source();
            while let Some(error) = cause {
                let text = error.to_string();
                // Some libraries repeat the cause in their own words' end.
                if !said.ends_with(&text) {
                    eprintln!("  because: {text}");
                    said = text;
                }
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}
