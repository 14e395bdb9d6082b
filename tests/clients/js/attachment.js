/**
 * Encrypted attachments: AES-256 in counter mode over a fresh key, with the hash of the ciphertext beside it
 * (client-server API, "Sending encrypted attachments").
 */
const COUNTER_BITS = 64;
const BLOCK_BYTES = 16;
const { subtle } = globalThis.crypto;

/** Encrypts `plaintext`; gives the ciphertext and the `file` object of the event, which still lacks its `url`. */
export async function encrypt(plaintext) {
  const key = await subtle.generateKey({ name: "AES-CTR", length: 256 }, true, ["encrypt", "decrypt"]);
  // The lower half is the block counter and starts at zero, so that it cannot overflow.
  const counter = new Uint8Array(BLOCK_BYTES);
  globalThis.crypto.getRandomValues(counter.subarray(0, BLOCK_BYTES / 2));
  const ciphertext = await subtle.encrypt({ name: "AES-CTR", counter, length: COUNTER_BITS }, key, plaintext);
  const exported = await subtle.exportKey("jwk", key);
  const file = {
    v: "v2",
    key: { kty: "oct", alg: "A256CTR", ext: true, key_ops: ["encrypt", "decrypt"], k: exported.k },
    iv: unpaddedBase64(counter),
    hashes: { sha256: await sha256(ciphertext) },
  };
  return { ciphertext: new Uint8Array(ciphertext), file };
}

/** Checks the hash of `ciphertext` against `file` and decrypts it. */
export async function decrypt(ciphertext, file) {
  if ((await sha256(ciphertext)) !== file.hashes.sha256) throw new Error("the ciphertext is not the one that was sent");
  const key = await subtle.importKey("jwk", file.key, "AES-CTR", false, ["decrypt"]);
  const counter = Buffer.from(file.iv, "base64");
  return new Uint8Array(await subtle.decrypt({ name: "AES-CTR", counter, length: COUNTER_BITS }, key, ciphertext));
}

async function sha256(bytes) {
  return unpaddedBase64(await subtle.digest("SHA-256", bytes));
}

function unpaddedBase64(bytes) {
  return Buffer.from(bytes).toString("base64").replace(/=+$/, "");
}
