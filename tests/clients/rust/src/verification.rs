//! Two people compare emojis and come to trust each other's keys.

use anyhow::{Context, Result, bail, ensure};
use futures_util::{Stream, StreamExt, pin_mut};
use matrix_sdk::{
    encryption::verification::{
        SasState, SasVerification, Verification, VerificationRequest, VerificationRequestState,
    },
    ruma::{UserId, events::room::message::MessageType},
};

use crate::{checklist::Checklist, inbox::Seen, person::Person};

/// Alice asks, Bob accepts, both confirm, and each ends with a verified identity of the other.
pub async fn verify(alice: &mut Person, bob: &mut Person, checklist: &mut Checklist) -> Result<()> {
    let asked = checklist
        .step(
            "alice asks bob for a verification",
            ask(alice, &bob.user_id),
        )
        .await?;
    let accepted = checklist
        .step(
            "bob sees the request and accepts",
            accept(bob, &alice.user_id),
        )
        .await?;
    let (alices, bobs) = checklist
        .step("both start to compare emojis", start(&asked, &accepted))
        .await?;
    checklist
        .step(
            "both see the same emojis and confirm",
            compare(&alices, &bobs),
        )
        .await?;
    checklist
        .step("alice trusts bob's identity", trusts(alice, &bob.user_id))
        .await?;
    checklist
        .step("bob trusts alice's identity", trusts(bob, &alice.user_id))
        .await
}

async fn ask(person: &Person, other: &UserId) -> Result<VerificationRequest> {
    let identity = person
        .client
        .encryption()
        .request_user_identity(other)
        .await?;
    let identity = identity.context("the other has no identity on the server")?;
    ensure!(!identity.is_verified(), "verified before the verification");
    Ok(identity.request_verification().await?)
}

async fn accept(person: &mut Person, other: &UserId) -> Result<VerificationRequest> {
    let flow = person
        .inbox
        .find(|seen| match seen {
            Seen::Message {
                event_id,
                sender,
                content,
                ..
            } if sender == other => match content.msgtype {
                MessageType::VerificationRequest(_) => Some(event_id.clone()),
                _ => None,
            },
            _ => None,
        })
        .await?;
    let request = person
        .client
        .encryption()
        .get_verification_request(other, flow)
        .await;
    let request = request.context("the client does not know the request")?;
    request.accept().await?;
    Ok(request)
}

/// The asking side starts the comparison, the asked side accepts it.
async fn start(
    asking: &VerificationRequest,
    asked: &VerificationRequest,
) -> Result<(SasVerification, SasVerification)> {
    reach(
        asking.changes(),
        || asking.state(),
        |state| match state {
            VerificationRequestState::Ready { .. } => Ok(Some(())),
            VerificationRequestState::Cancelled(info) => bail!("cancelled: {}", info.reason()),
            _ => Ok(None),
        },
    )
    .await?;
    let started = asking
        .start_sas()
        .await?
        .context("the request is not ready")?;
    let seen = reach(
        asked.changes(),
        || asked.state(),
        |state| match state {
            VerificationRequestState::Transitioned {
                verification: Verification::SasV1(sas),
            } => Ok(Some(sas)),
            VerificationRequestState::Cancelled(info) => bail!("cancelled: {}", info.reason()),
            _ => Ok(None),
        },
    )
    .await?;
    seen.accept().await?;
    Ok((started, seen))
}

async fn compare(alices: &SasVerification, bobs: &SasVerification) -> Result<()> {
    keys_exchanged(alices).await?;
    keys_exchanged(bobs).await?;
    ensure!(alices.decimals() == bobs.decimals(), "the numbers differ");
    let symbols =
        |sas: &SasVerification| sas.emoji().map(|emojis| emojis.map(|emoji| emoji.symbol));
    ensure!(
        symbols(alices).is_some() && symbols(alices) == symbols(bobs),
        "the emojis differ"
    );
    alices.confirm().await?;
    bobs.confirm().await?;
    done(alices).await?;
    done(bobs).await
}

async fn keys_exchanged(sas: &SasVerification) -> Result<()> {
    reach(
        sas.changes(),
        || sas.state(),
        |state| match state {
            SasState::KeysExchanged { .. } => Ok(Some(())),
            SasState::Cancelled(info) => bail!("cancelled: {}", info.reason()),
            _ => Ok(None),
        },
    )
    .await
}

async fn done(sas: &SasVerification) -> Result<()> {
    reach(
        sas.changes(),
        || sas.state(),
        |state| match state {
            SasState::Done { .. } => Ok(Some(())),
            SasState::Cancelled(info) => bail!("cancelled: {}", info.reason()),
            _ => Ok(None),
        },
    )
    .await
}

/// Waits until the client holds the other's identity as verified, then asks the server anew: the signature has to be there.
async fn trusts(person: &Person, other: &UserId) -> Result<()> {
    let encryption = person.client.encryption();
    let updates = encryption.user_identities_stream().await?;
    pin_mut!(updates);
    while !encryption
        .get_user_identity(other)
        .await?
        .is_some_and(|identity| identity.is_verified())
    {
        updates.next().await.context("the client is gone")?;
    }
    let identity = encryption
        .request_user_identity(other)
        .await?
        .context("the identity is gone")?;
    ensure!(identity.is_verified(), "the server has lost the signature");
    Ok(())
}

/// Looks at the present state, then at each that follows, until `pick` makes something of one.
async fn reach<State, T>(
    changes: impl Stream<Item = State>,
    present: impl Fn() -> State,
    pick: impl Fn(State) -> Result<Option<T>>,
) -> Result<T> {
    pin_mut!(changes);
    let mut state = present();
    loop {
        if let Some(found) = pick(state)? {
            return Ok(found);
        }
        state = changes.next().await.context("the verification has ended")?;
    }
}
