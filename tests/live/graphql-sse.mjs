// Subscribes to a running hub by server-sent events and prints each result as a line of JSON.
// Environment: CROSSTIE_URL, CROSSTIE_TOKEN, DOCUMENT, VARIABLES (JSON), COUNT (results to wait for), TIMEOUT_MS.
// Ends with 0 after COUNT results or when the stream completes, with 1 after an error or the timeout.
import { createClient } from "graphql-sse";

const { CROSSTIE_TOKEN: token, DOCUMENT: query } = process.env;
const url = process.env.CROSSTIE_URL ?? "http://127.0.0.1:8080/graphql";
const count = Number(process.env.COUNT ?? Infinity);
const timeoutMs = Number(process.env.TIMEOUT_MS ?? 10_000);
const variables = JSON.parse(process.env.VARIABLES ?? "{}");

if (!query) {
  console.error("DOCUMENT is missing");
  process.exit(1);
}

const client = createClient({
  url,
  singleConnection: false,
  retryAttempts: 0,
  headers: token ? { authorization: `Bearer ${token}` } : {},
});
const results = client.iterate({ query, variables });

const timer = setTimeout(() => {
  console.error(`no end after ${timeoutMs} ms`);
  process.exit(1);
}, timeoutMs);

try {
  let seen = 0;
  for await (const result of results) {
    console.log(JSON.stringify(result));
    seen += 1;
    if (seen >= count) break;
  }
} catch (error) {
  console.error(error);
  process.exit(1);
}
clearTimeout(timer);
client.dispose();
