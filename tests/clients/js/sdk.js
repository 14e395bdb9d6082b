/**
 * The SDK as it comes from the registry, with what it logs kept off the report.
 *
 * The console is redirected before the SDK is loaded, since its logger keeps the console's functions:
 * to the file named by CLIENT_LOG, or nowhere.
 */
import { appendFileSync } from "node:fs";
import { format } from "node:util";

const logFile = process.env.CLIENT_LOG;

for (const level of ["trace", "debug", "log", "info", "warn", "error"]) {
  console[level] = (...parts) => {
    if (logFile) appendFileSync(logFile, `${new Date().toISOString()} ${level} ${format(...parts)}\n`);
  };
}

const sdk = await import("matrix-js-sdk");
const cryptoApi = await import("matrix-js-sdk/lib/crypto-api/index.js");

export const {
  ClientEvent,
  InteractiveAuth,
  MatrixEventEvent,
  RoomEvent,
  RoomStateEvent,
  createClient,
} = sdk;

export const { CryptoEvent, VerificationPhase, VerificationRequestEvent, VerifierEvent } = cryptoApi;
