/** The encrypted room: making it, entering it, and reading from it what others sent. */
import { until } from "./wait.js";

/** Creates a private encrypted room and invites `invited`; gives its id once the creator sees it encrypted. */
export async function createEncrypted(client, invited) {
  const { room_id: roomId } = await client.createRoom({
    name: "A private place",
    preset: "private_chat",
    invite: [invited],
    initial_state: [
      { type: "m.room.encryption", state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } },
    ],
  });
  await until(client, "the new room to be encrypted", () =>
    client.getRoom(roomId) && client.getCrypto().isEncryptionEnabledInRoom(roomId));
  return roomId;
}

/** Waits for the invitation to `roomId`, and accepts it. */
export async function acceptInvitation(client, roomId) {
  await until(client, "the invitation", () => client.getRoom(roomId)?.getMyMembership() === "invite");
  await client.joinRoom(roomId);
  await until(client, "the own membership", () => client.getRoom(roomId)?.getMyMembership() === "join");
  await until(client, "the room to be encrypted", () => client.getCrypto().isEncryptionEnabledInRoom(roomId));
}

/** Waits until `client` sees `userId` in the room. */
export function memberJoined(client, roomId, userId) {
  return until(client, `${userId} to be in the room`, () =>
    client.getRoom(roomId)?.getMember(userId)?.membership === "join");
}

/** Waits for an event that was sent encrypted, and for its decryption; fails at once if it was sent in clear. */
export function receiveEncrypted(client, roomId, eventId) {
  let missing = "has not arrived";
  return until(client, () => `event ${eventId}, which ${missing}`, () => {
    const event = client.getRoom(roomId)?.findEventById(eventId);
    if (!event) return undefined;
    if (!event.isEncrypted()) throw new Error("the event was sent in clear");
    // The key may arrive after the event: a failure to decrypt is final only when the wait is over.
    const failure = event.isDecryptionFailure() ? event.decryptionFailureReason : undefined;
    missing = failure ? `cannot be decrypted (${failure})` : "is not decrypted";
    return event.getClearContent() && !failure ? event : undefined;
  });
}

/** Waits for the message `eventId` and fails unless it says `body`. */
export async function receiveText(client, roomId, eventId, body) {
  const event = await receiveEncrypted(client, roomId, eventId);
  const received = event.getContent().body;
  if (received !== body) throw new Error(`received «${received}» instead of «${body}»`);
  return event;
}

/** Sends an edit of the message `eventId`, whose text becomes `body`. */
export function edit(client, roomId, eventId, body) {
  return client.sendMessage(roomId, {
    msgtype: "m.text",
    body: `* ${body}`,
    "m.new_content": { msgtype: "m.text", body },
    "m.relates_to": { rel_type: "m.replace", event_id: eventId },
  });
}

/** Waits until the message `eventId` reads as `body` after its edits. */
export function edited(client, roomId, eventId, body) {
  return until(client, "the edit", () => client.getRoom(roomId)?.findEventById(eventId)?.getContent().body === body);
}

/** Sends the reaction `key` to the message `eventId`. */
export function react(client, roomId, eventId, key) {
  return client.sendEvent(roomId, "m.reaction", {
    "m.relates_to": { rel_type: "m.annotation", event_id: eventId, key },
  });
}

/** Waits until `sender`'s reaction `key` counts on the message `eventId`. */
export function reacted(client, roomId, eventId, key, sender) {
  return until(client, "the reaction", () => {
    const relations = client.getRoom(roomId)?.relations;
    const reactions = relations?.getChildEventsForEvent(eventId, "m.annotation", "m.reaction");
    const theirs = reactions?.getAnnotationsBySender()?.[sender] ?? new Set();
    return [...theirs].some((event) => event.getRelation()?.key === key);
  });
}

/** Waits until the message `eventId` is redacted and has lost its text. */
export async function redacted(client, roomId, eventId) {
  const event = await until(client, "the redaction", () => {
    const found = client.getRoom(roomId)?.findEventById(eventId);
    return found?.isRedacted() ? found : undefined;
  });
  if (event.getContent().body !== undefined) throw new Error("the redacted message still has its text");
}
