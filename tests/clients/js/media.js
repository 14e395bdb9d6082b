/** An image to send, and the authenticated media endpoints as a client uses them. */
import { crc32, deflateSync } from "node:zlib";
import { decrypt, encrypt } from "./attachment.js";

const SIDE_PIXELS = 64;

/** A small PNG of random pixels: it does not compress, so that the upload is more than a few bytes. */
export function randomImage() {
  const row = SIDE_PIXELS * 3 + 1;
  const pixels = globalThis.crypto.getRandomValues(new Uint8Array(row * SIDE_PIXELS));
  // Each row starts with its filter type; 0 means none.
  for (let start = 0; start < pixels.length; start += row) pixels[start] = 0;
  const header = Buffer.alloc(13);
  header.writeUInt32BE(SIDE_PIXELS, 0);
  header.writeUInt32BE(SIDE_PIXELS, 4);
  header.set([8, 2, 0, 0, 0], 8);
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  const chunks = [chunk("IHDR", header), chunk("IDAT", deflateSync(pixels)), chunk("IEND", Buffer.alloc(0))];
  return new Uint8Array(Buffer.concat([signature, ...chunks]));
}

/** Encrypts and uploads `image`, and sends it to the room as an `m.image`; gives the event's id. */
export async function sendImage(client, roomId, image) {
  const { ciphertext, file } = await encrypt(image);
  const { content_uri: url } = await client.uploadContent(new Blob([ciphertext]), {
    includeFilename: false,
    type: "application/octet-stream",
  });
  const { event_id: eventId } = await client.sendMessage(roomId, {
    msgtype: "m.image",
    body: "noise.png",
    file: { ...file, url },
    info: { mimetype: "image/png", size: image.length, w: SIDE_PIXELS, h: SIDE_PIXELS },
  });
  return eventId;
}

/** Downloads what the `m.image` in `content` points to, with the client's token, and decrypts it. */
export async function fetchImage(client, content) {
  const response = await fetch(downloadUrl(client, content), {
    headers: { Authorization: `Bearer ${client.getAccessToken()}` },
  });
  if (!response.ok) throw new Error(`the download answered ${response.status}`);
  return decrypt(new Uint8Array(await response.arrayBuffer()), content.file);
}

/** Fails unless the server refuses the same download to somebody without a token. */
export async function assertRefusedWithoutToken(client, content) {
  const response = await fetch(downloadUrl(client, content));
  if (response.status !== 401) throw new Error(`a download without a token answered ${response.status}`);
  const { errcode } = await response.json();
  if (errcode !== "M_MISSING_TOKEN") throw new Error(`a download without a token was refused with ${errcode}`);
}

function downloadUrl(client, content) {
  const url = client.mxcUrlToHttp(content.file.url, undefined, undefined, undefined, false, true, true);
  if (!url) throw new Error(`not a content URI: ${content.file.url}`);
  return url;
}

/** A PNG chunk: length, type, data and checksum. */
function chunk(type, data) {
  const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const framed = Buffer.alloc(body.length + 8);
  framed.writeUInt32BE(data.length, 0);
  framed.set(body, 4);
  framed.writeUInt32BE(crc32(body), body.length + 4);
  return framed;
}
