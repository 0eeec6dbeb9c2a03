// Audits a running hub against GraphQL over HTTP.
// Usage: node graphql-http-audit.mjs [address] [token], or CROSSTIE_URL and CROSSTIE_TOKEN. The token needs schema:read.
import { auditServer } from "graphql-http";

const url = process.argv[2] ?? process.env.CROSSTIE_URL ?? "http://127.0.0.1:8080/graphql";
const token = process.argv[3] ?? process.env.CROSSTIE_TOKEN;

const fetchFn = (address, init = {}) => {
  const headers = new Headers(init.headers);
  if (token) headers.set("authorization", `Bearer ${token}`);
  return fetch(address, { ...init, headers });
};

const results = await auditServer({ url, fetchFn });
const failed = results.filter((result) => result.status !== "ok");
for (const result of failed) {
  console.error(`${result.status} ${result.id} ${result.name}: ${result.reason}`);
}
console.log(`${results.length - failed.length} passed, ${failed.length} failed`);
process.exit(failed.length > 0 || results.length === 0 ? 1 : 0);
