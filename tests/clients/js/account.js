/** Accounts and their sessions: register, log in, open a syncing client with encryption, log out. */
import { ClientEvent, InteractiveAuth, createClient } from "./sdk.js";
import { until } from "./wait.js";

const SYNC_TIMEOUT_MILLISECONDS = 10_000;

/** Registers `username` through user-interactive authentication, as a client that knows only the dummy stage. */
export async function register(baseUrl, username, password) {
  const client = createClient({ baseUrl });
  let challenges = 0;
  const authentication = new InteractiveAuth({
    matrixClient: client,
    supportedStages: ["m.login.dummy"],
    doRequest: async (auth) => {
      try {
        return await client.registerRequest({
          username,
          password,
          initial_device_display_name: "journey, first device",
          auth: auth ?? undefined,
        });
      } catch (error) {
        if (error.httpStatus === 401) challenges += 1;
        throw error;
      }
    },
    stateUpdated: () => {},
    requestEmailToken: () => Promise.reject(new Error("no e-mail stage was offered to this client")),
  });
  const credentials = await authentication.attemptAuth();
  if (challenges === 0) throw new Error("the server registered an account without user-interactive authentication");
  return credentials;
}

/** Logs in with a password, which makes a new device. */
export function login(baseUrl, username, password) {
  return createClient({ baseUrl }).loginRequest({
    type: "m.login.password",
    identifier: { type: "m.id.user", user: username },
    password,
    initial_device_display_name: "journey, second device",
  });
}

/** A client that has its encryption ready and its first sync done. */
export async function open(baseUrl, credentials) {
  const client = createClient({
    baseUrl,
    userId: credentials.user_id,
    deviceId: credentials.device_id,
    accessToken: credentials.access_token,
    verificationMethods: ["m.sas.v1"],
  });
  await client.initRustCrypto({ useIndexedDB: false });
  await client.startClient({ pollTimeout: SYNC_TIMEOUT_MILLISECONDS });
  await until(client, "the first sync", () => client.isInitialSyncComplete(), [ClientEvent.Sync]);
  return client;
}

/** Logs `client` out and proves that its token is dead. */
export async function logout(client) {
  const accessToken = client.getAccessToken();
  await client.logout(true);
  const stale = createClient({ baseUrl: client.baseUrl, accessToken });
  try {
    await stale.whoami();
  } catch (error) {
    if (error.httpStatus === 401 && error.errcode === "M_UNKNOWN_TOKEN") return;
    throw error;
  }
  throw new Error("the access token still works after the logout");
}
