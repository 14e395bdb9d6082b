/**
 * Waiting for what the server makes happen: always on an event or a promise, never for a time.
 *
 * The only clocks here are the limits after which a wait is a failure: for one wait, for a step with all
 * its waits and requests, and for the whole journey.
 */
import { ClientEvent, CryptoEvent, MatrixEventEvent, RoomEvent, RoomStateEvent } from "./sdk.js";

const WAIT_LIMIT_MILLISECONDS = 45_000;
const STEP_LIMIT_MILLISECONDS = 90_000;
const JOURNEY_LIMIT_MILLISECONDS = 300_000;

const journeyEnds = Date.now() + JOURNEY_LIMIT_MILLISECONDS;

/** What a client emits when anything that the journey looks at may have changed. */
const ANY_CHANGE = [
  ClientEvent.Sync,
  RoomEvent.MyMembership,
  RoomEvent.Redaction,
  RoomEvent.Timeline,
  RoomStateEvent.Members,
  MatrixEventEvent.Decrypted,
  MatrixEventEvent.Replaced,
  CryptoEvent.DevicesUpdated,
  CryptoEvent.KeysChanged,
  CryptoEvent.UserTrustStatusChanged,
];

/** Settles as `promise` does, or fails naming `what` (a text, or a function that gives it) when the limit runs out. */
export function within(promise, what) {
  return limited(promise, WAIT_LIMIT_MILLISECONDS, what);
}

/** Settles as `action` does, or fails when the step's limit runs out; after the journey's limit it is not even begun. */
export async function withinStep(action) {
  if (Date.now() >= journeyEnds) throw new Error("the time of the whole journey is over");
  return limited(action(), STEP_LIMIT_MILLISECONDS, "the step to finish");
}

async function limited(promise, milliseconds, what) {
  const left = Math.min(milliseconds, journeyEnds - Date.now());
  let timer;
  const limit = new Promise((_resolve, reject) => {
    const giveUp = () => reject(new Error(`gave up waiting for ${typeof what === "function" ? what() : what}`));
    timer = setTimeout(giveUp, Math.max(left, 0));
  });
  try {
    return await Promise.race([promise, limit]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * The first truthy answer of `probe`, which is asked now and again each time `emitter` emits one of `events`.
 *
 * A probe may be asynchronous; it is never run twice at once, and an event that arrives meanwhile makes it run again.
 */
export async function until(emitter, what, probe, events = ANY_CHANGE) {
  let look;
  const found = new Promise((resolve, reject) => {
    let looking = false;
    let lookAgain = false;
    look = async () => {
      lookAgain = true;
      if (looking) return;
      looking = true;
      try {
        while (lookAgain) {
          lookAgain = false;
          const answer = await probe();
          if (answer) resolve(answer);
        }
      } catch (error) {
        reject(error);
      } finally {
        looking = false;
      }
    };
  });
  for (const event of events) emitter.on(event, look);
  try {
    look();
    return await within(found, what);
  } finally {
    for (const event of events) emitter.off(event, look);
  }
}

/** The payload of the next `event` that `emitter` emits. */
export function next(emitter, event, what) {
  return within(new Promise((resolve) => emitter.once(event, resolve)), what);
}
