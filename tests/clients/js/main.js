/**
 * Two people on an unmodified matrix-js-sdk: they register, meet in an encrypted room, talk, verify each other and
 * leave. `main.js URL` runs the journey against the homeserver at URL and exits with 1 if any step failed.
 */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { JourneyEnded, Report } from "./report.js";
import * as account from "./account.js";
import * as media from "./media.js";
import * as room from "./room.js";
import * as verification from "./verification.js";

const [baseUrl] = process.argv.slice(2);
if (!baseUrl) {
  process.stderr.write("usage: main.js URL\n");
  process.exit(2);
}

const report = new Report();
const open = [];
// As in a browser, what fails behind the SDK's back is shown and fails nothing; a step tells whether it mattered.
process.on("unhandledRejection", (error) => process.stderr.write(`unhandled: ${error?.stack ?? error}\n`));

try {
  await journey();
} catch (error) {
  if (!(error instanceof JourneyEnded)) throw error;
}
for (const client of open) client.stopClient();
process.exit(report.close() ? 0 : 1);

async function journey() {
  const people = await enter();
  const roomId = await meet(people);
  await talk(people, roomId);
  await showPicture(people, roomId);
  await verify(people, roomId);
  await leave(people);
}

/** Registers both, gives Alice a second device, and starts everybody's client. */
async function enter() {
  const suffix = randomBytes(6).toString("hex");
  const password = randomBytes(18).toString("base64url");
  const [aliceName, bobName] = [`alice-${suffix}`, `bob-${suffix}`];

  const aliceAccount = await report.must("Alice registers", () => account.register(baseUrl, aliceName, password));
  const bobAccount = await report.must("Bob registers", () => account.register(baseUrl, bobName, password));
  await report.check("a wrong password is refused", () =>
    assert.rejects(account.login(baseUrl, aliceName, "wrong"), { errcode: "M_FORBIDDEN", httpStatus: 403 }));
  const secondLogin = await report.must("Alice logs in on a second device", () =>
    account.login(baseUrl, aliceName, password));
  await report.check("the second device is another device of the same user", () => {
    assert.equal(secondLogin.user_id, aliceAccount.user_id);
    assert.notEqual(secondLogin.device_id, aliceAccount.device_id);
  });

  const alice = await start("Alice's first device syncs", aliceAccount);
  await report.must("Alice publishes cross-signing keys", () => verification.bootstrapCrossSigning(alice, password));
  const bob = await start("Bob syncs", bobAccount);
  await report.must("Bob publishes cross-signing keys", () => verification.bootstrapCrossSigning(bob, password));
  const aliceSecond = await start("Alice's second device syncs", secondLogin);
  await report.must("Alice's devices learn of each other", async () => {
    await verification.knowsDevice(alice, alice.getUserId(), aliceSecond.getDeviceId());
    await verification.knowsDevice(aliceSecond, alice.getUserId(), alice.getDeviceId());
  });
  return { alice, aliceSecond, bob };
}

async function start(name, credentials) {
  const client = await report.must(name, () => account.open(baseUrl, credentials));
  open.push(client);
  return client;
}

/** Brings both into one encrypted room. */
async function meet({ alice, aliceSecond, bob }) {
  const roomId = await report.must("Alice creates an encrypted room and invites Bob", () =>
    room.createEncrypted(alice, bob.getUserId()));
  await report.must("Bob accepts the invitation", () => room.acceptInvitation(bob, roomId));
  await report.must("everybody sees both in the room", () =>
    Promise.all([
      room.memberJoined(alice, roomId, bob.getUserId()),
      room.memberJoined(aliceSecond, roomId, bob.getUserId()),
      room.memberJoined(bob, roomId, alice.getUserId()),
    ]));
  await report.must("each learns of the other's devices", () =>
    Promise.all([
      verification.knowsDevice(alice, bob.getUserId(), bob.getDeviceId()),
      verification.knowsDevice(bob, alice.getUserId(), alice.getDeviceId()),
      verification.knowsDevice(bob, alice.getUserId(), aliceSecond.getDeviceId()),
    ]));
  return roomId;
}

/** Messages both ways, then an edit, a reaction and a redaction. */
async function talk({ alice, aliceSecond, bob }, roomId) {
  const say = async (sender, body) => (await sender.sendTextMessage(roomId, body)).event_id;

  const greeting = await report.must("Alice sends a message", () => say(alice, "Hello, Bob! 🔐"));
  await report.check("Bob decrypts it", () => room.receiveText(bob, roomId, greeting, "Hello, Bob! 🔐"));
  await report.check("Alice's second device decrypts it", () =>
    room.receiveText(aliceSecond, roomId, greeting, "Hello, Bob! 🔐"));
  const answer = await report.must("Bob answers", () => say(bob, "Hello, Alice."));
  await report.check("both devices of Alice decrypt it", () =>
    Promise.all([alice, aliceSecond].map((client) => room.receiveText(client, roomId, answer, "Hello, Alice."))));

  await report.check("Alice edits her message, and Bob reads the new text", async () => {
    await room.edit(alice, roomId, greeting, "Hello again, Bob!");
    await room.edited(bob, roomId, greeting, "Hello again, Bob!");
  });
  await report.check("Bob reacts to it, and Alice sees the reaction", async () => {
    await room.react(bob, roomId, greeting, "👍");
    await room.reacted(alice, roomId, greeting, "👍", bob.getUserId());
  });
  await report.check("Bob redacts his answer, and it is gone for Alice", async () => {
    await bob.redactEvent(roomId, answer, undefined, { reason: "said too much" });
    await Promise.all([alice, aliceSecond].map((client) => room.redacted(client, roomId, answer)));
  });
}

/** An encrypted image, over the authenticated media endpoints. */
async function showPicture({ alice, bob }, roomId) {
  const image = media.randomImage();
  const sent = await report.check("Alice sends an encrypted image", () => media.sendImage(alice, roomId, image));
  await report.check("Bob fetches and decrypts the image", async () => {
    const content = (await room.receiveEncrypted(bob, roomId, sent)).getContent();
    assert.equal(content.msgtype, "m.image");
    assert.deepEqual(await media.fetchImage(bob, content), image);
  });
  await report.check("the image is refused without a token", async () => {
    const content = (await room.receiveEncrypted(bob, roomId, sent)).getContent();
    await media.assertRefusedWithoutToken(bob, content);
  });
}

/** Alice's own devices verify each other directly, and Alice and Bob in the room. */
async function verify({ alice, aliceSecond, bob }, roomId) {
  const [aliceId, bobId] = [alice.getUserId(), bob.getUserId()];

  await report.check("Alice's devices verify each other (SAS over to-device messages)", async () => {
    await verification.knowsIdentity(aliceSecond);
    await verification.verifyBySas(aliceSecond, alice, () => aliceSecond.getCrypto().requestOwnUserVerification());
    await verification.trusts(alice, aliceId, aliceSecond.getDeviceId());
    await verification.trusts(aliceSecond, aliceId, alice.getDeviceId());
  });
  await report.check("the second device gets the private cross-signing keys", () =>
    verification.hasPrivateKeys(aliceSecond));
  await report.check("Alice and Bob verify each other (SAS in the room)", async () => {
    await verification.knowsIdentity(alice, bobId);
    await verification.knowsIdentity(bob, aliceId);
    await verification.verifyBySas(alice, bob, () => alice.getCrypto().requestVerificationDM(bobId, roomId));
  });
  await report.check("Alice trusts Bob's device", () => verification.trusts(alice, bobId, bob.getDeviceId()));
  await report.check("Bob trusts both devices of Alice", () =>
    Promise.all([alice, aliceSecond].map((client) => verification.trusts(bob, aliceId, client.getDeviceId()))));
  await report.check("Alice's second device trusts Bob too", () =>
    verification.trusts(aliceSecond, bobId, bob.getDeviceId()));
}

/** Logs everybody out, one session at a time. */
async function leave({ alice, aliceSecond, bob }) {
  await report.check("Alice logs out her second device, and stays logged in on the first", async () => {
    await account.logout(aliceSecond);
    assert.equal((await alice.whoami()).user_id, alice.getUserId());
  });
  await report.check("Alice logs out", () => account.logout(alice));
  await report.check("Bob logs out", () => account.logout(bob));
}
