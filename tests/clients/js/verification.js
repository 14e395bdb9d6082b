/** Cross-signing, and verification by comparing short authentication strings. */
import { setImmediate } from "node:timers/promises";
import {
  ClientEvent, CryptoEvent, RoomEvent, VerificationPhase, VerificationRequestEvent, VerifierEvent,
} from "./sdk.js";
import { next, until, within } from "./wait.js";

const CHANGE = [VerificationRequestEvent.Change];
const PROOF = "m.key.verification.mac";

/** Makes and publishes the user's cross-signing keys; a server that asks for the password gets it. */
export async function bootstrapCrossSigning(client, password) {
  const crypto = client.getCrypto();
  await crypto.bootstrapCrossSigning({
    authUploadDeviceSigningKeys: async (makeRequest) => {
      try {
        return await makeRequest(null);
      } catch (error) {
        if (error.httpStatus !== 401 || !error.data?.session) throw error;
        return makeRequest({
          type: "m.login.password",
          identifier: { type: "m.id.user", user: client.getUserId() },
          password,
          session: error.data.session,
        });
      }
    },
  });
  await until(client, "the own identity to be signed", async () => {
    const status = await crypto.getDeviceVerificationStatus(client.getUserId(), client.getDeviceId());
    return status?.crossSigningVerified;
  });
}

/**
 * Verifies the two clients with each other: `request` makes the request on the side of `asking`,
 * and both sides confirm once they have been shown the same emoji.
 */
export async function verifyBySas(asking, answering, request) {
  const arriving = next(answering, CryptoEvent.VerificationRequestReceived, "the verification request");
  const [outgoing, incoming] = await Promise.all([within(request(), "the request to be sent"), arriving]);
  await incoming.accept();
  await reach(outgoing, "the request to be accepted", () => outgoing.phase === VerificationPhase.Ready);
  const askingVerifier = await outgoing.startVerification("m.sas.v1");
  const answeringVerifier = await reach(incoming, "the verification to start", () => incoming.verifier);

  const strings = Promise.all([shownString(askingVerifier), shownString(answeringVerifier)]);
  const finished = Promise.all([askingVerifier.verify(), answeringVerifier.verify()]);
  const confirmed = strings.then(async ([asked, answered]) => {
    const [left, right] = [asked, answered].map((callbacks) => JSON.stringify(callbacks.sas.emoji));
    if (!left || left !== right) throw new Error(`the two sides were shown ${left} and ${right}`);
    // One after the other: a side that gets the other's proof while it still sends its own sends that it is done at
    // the same time, and the two messages may overtake each other.
    const proof = proofArrives(answering, asking);
    await asked.confirm();
    await proof;
    await answered.confirm();
  });
  await within(Promise.all([confirmed, finished]), "both sides to finish the verification");
  for (const side of [outgoing, incoming]) {
    await reach(side, "the verification to be done", () => side.phase === VerificationPhase.Done);
  }
}

/** Waits until `client` trusts the identity of `userId` and, through it, the device. */
export function trusts(client, userId, deviceId) {
  return until(client, `${client.getUserId()} to trust ${userId}`, async () => {
    const crypto = client.getCrypto();
    const user = await crypto.getUserVerificationStatus(userId);
    const device = await crypto.getDeviceVerificationStatus(userId, deviceId);
    return user.isCrossSigningVerified() && device?.crossSigningVerified;
  });
}

/** Waits until `client` has learned of the device `deviceId` of `userId`. */
export function knowsDevice(client, userId, deviceId) {
  return until(client, `the keys of device ${deviceId}`, async () => {
    const devices = await client.getCrypto().getUserDeviceInfo([userId]);
    return devices.get(userId)?.has(deviceId);
  });
}

/** Waits until `client` knows that `userId` (by default its own user) has published cross-signing keys. */
export function knowsIdentity(client, userId = client.getUserId()) {
  return until(client, `the cross-signing keys of ${userId}`, () => client.getCrypto().userHasCrossSigningKeys(userId));
}

/** Waits until another device of the user has handed over the private cross-signing keys. */
export function hasPrivateKeys(client) {
  return until(client, "the private cross-signing keys", async () => {
    const { privateKeysCachedLocally: keys } = await client.getCrypto().getCrossSigningStatus();
    return keys.masterKey && keys.selfSigningKey && keys.userSigningKey;
  });
}

/** Waits for the answer of `probe`, and fails at once if the verification is cancelled. */
function reach(request, what, probe) {
  return until(request, what, () => {
    if (request.phase === VerificationPhase.Cancelled) {
      throw new Error(`${request.cancellingUserId} cancelled the verification: ${request.cancellationCode}`);
    }
    return probe();
  }, CHANGE);
}

/** Waits until `receiver` has taken in the proof that `sender` makes of its keys, to-device or in a room. */
async function proofArrives(receiver, sender) {
  const isProof = (type, from) => type === PROOF && from === sender.getUserId();
  let onMessage;
  let onEvent;
  const arrived = new Promise((resolve) => {
    onMessage = ({ message }) => isProof(message.type, message.sender) && resolve();
    onEvent = (event) => isProof(event.getType(), event.getSender()) && resolve();
  });
  receiver.on(ClientEvent.ReceivedToDeviceMessage, onMessage);
  receiver.on(RoomEvent.Timeline, onEvent);
  try {
    await within(arrived, "the proof of the other side");
  } finally {
    receiver.off(ClientEvent.ReceivedToDeviceMessage, onMessage);
    receiver.off(RoomEvent.Timeline, onEvent);
  }
  // What listens on the event may still have promises to follow; all of them are done before the next turn.
  await setImmediate();
}

function shownString(verifier) {
  return verifier.getShowSasCallbacks() ?? next(verifier, VerifierEvent.ShowSas, "the emoji to be shown");
}
