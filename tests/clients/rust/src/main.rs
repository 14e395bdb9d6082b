//! Two users of an unmodified `matrix-sdk` meet on a server: they register, talk in an encrypted room, verify each other,
//! list rooms by sliding sync, and log out. Usage: `chancery-client-test URL`.

// The SDK's nested futures go deeper than the compiler looks by default.
#![recursion_limit = "256"]

mod checklist;
mod conversation;
mod inbox;
mod person;
mod room_list;
mod verification;

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use checklist::Checklist;
use person::Person;

/// Everything has to be done within this time; single steps wait for events, not for time to pass.
const DEADLINE: Duration = Duration::from_secs(180);

#[tokio::main]
async fn main() -> ExitCode {
    let Some(url) = std::env::args().nth(1) else {
        eprintln!("usage: chancery-client-test URL");
        return ExitCode::from(2);
    };
    let mut checklist = Checklist::default();
    if tokio::time::timeout(DEADLINE, meet(&url, &mut checklist))
        .await
        .is_err()
    {
        checklist.abandon(&format!("not done within {} s", DEADLINE.as_secs()));
    }
    checklist.conclude()
}

/// The whole story. A chapter that fails ends where it failed; the next one is tried nevertheless, if it can be.
async fn meet(url: &str, checklist: &mut Checklist) {
    if let Ok((mut alice, mut bob)) = arrive(url, checklist).await {
        if let Ok(room_id) = conversation::open(&mut alice, &mut bob, checklist).await {
            // The outcome of each chapter is on the checklist.
            let _ = conversation::talk(&mut alice, &mut bob, &room_id, checklist).await;
            let _ = conversation::share_image(&mut alice, &mut bob, &room_id, checklist).await;
            let _ = verification::verify(&mut alice, &mut bob, checklist).await;
            let _ = room_list::follow(url, (&alice, &bob), &room_id, checklist).await;
        }
        let _ = leave(alice, bob, checklist).await;
    }
}

async fn arrive(url: &str, checklist: &mut Checklist) -> Result<(Person, Person)> {
    let alice = checklist
        .step(
            "alice registers through the dummy stage",
            Person::register(url, "alice"),
        )
        .await?;
    let bob = checklist
        .step(
            "bob registers through the dummy stage",
            Person::register(url, "bob"),
        )
        .await?;
    let alice = checklist
        .step("alice logs in with her password and syncs", alice.log_in())
        .await?;
    let bob = checklist
        .step("bob logs in with his password and syncs", bob.log_in())
        .await?;
    checklist
        .step(
            "alice publishes cross-signing keys",
            alice.bootstrap_cross_signing(),
        )
        .await?;
    checklist
        .step(
            "bob publishes cross-signing keys",
            bob.bootstrap_cross_signing(),
        )
        .await?;
    Ok((alice, bob))
}

async fn leave(alice: Person, bob: Person, checklist: &mut Checklist) -> Result<()> {
    checklist
        .step("alice logs out and her token is void", alice.log_out())
        .await?;
    checklist
        .step("bob logs out and his token is void", bob.log_out())
        .await
}
