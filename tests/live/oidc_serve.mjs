// An authorization server that others wrote (oidc-provider), and an API that only its access tokens open. Its sign-in
// pages are those of its development mode: any name and password will do.
//
//   node oidc_serve.mjs <port> <private key>   the key belongs to the clients `robot` and `signer`
//
// GET /control/counts            what was asked and answered, by grant and outcome
// POST /control/life?seconds=n   how long access tokens live from now on
// POST /control/revoke           ends everything that was granted
import { createPublicKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { jwtVerify } from 'jose';
import { Provider, errors } from 'oidc-provider';

const [port, keyFile] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const publicKey = createPublicKey(readFileSync(keyFile));
const jwk = { ...publicKey.export({ format: 'jwk' }), kid: 'key-1', alg: 'RS256', use: 'sig' };

const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
let life = 3600;
let counts = {};
const grants = new Set();
const count = (what) => { counts[what] = (counts[what] ?? 0) + 1; };

const secret = { client_secret: 'live-client-secret', token_endpoint_auth_method: 'client_secret_post' };
const none = { redirect_uris: [], response_types: [], scope: 'crm' };
const provider = new Provider(issuer, {
  clients: [
    { ...none, ...secret, client_id: 'machine', grant_types: ['client_credentials'] },
    // A native client comes back to any port of this machine.
    {
      ...secret, client_id: 'web', application_type: 'native', scope: 'crm offline_access openid',
      grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'],
      redirect_uris: ['http://127.0.0.1/oauth/callback/crm', 'http://127.0.0.1/oauth/callback/refused'],
    },
    { ...none, ...secret, client_id: 'robot', grant_types: [JWT_BEARER], jwks: { keys: [jwk] } },
    {
      ...none, client_id: 'signer', grant_types: ['client_credentials'],
      token_endpoint_auth_method: 'private_key_jwt', jwks: { keys: [jwk] },
    },
  ],
  scopes: ['openid', 'offline_access', 'crm'],
  clientAuthMethods: ['client_secret_post', 'private_key_jwt', 'none'],
  features: { clientCredentials: { enabled: true }, revocation: { enabled: true } },
  rotateRefreshToken: true,
  issueRefreshToken: () => true,
  ttl: {
    AccessToken: () => life, ClientCredentials: () => life, RefreshToken: () => 86400, Grant: () => 86400,
    Session: () => 86400, Interaction: () => 600, AuthorizationCode: () => 60, IdToken: () => 600,
  },
  cookies: { keys: ['live-cookie-key'] },
  findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
});

provider.registerGrantType(JWT_BEARER, async (ctx) => {
  const { client, params } = ctx.oidc;
  try {
    await jwtVerify(params.assertion, publicKey, {
      issuer: client.clientId, audience: `${issuer}/token`, subject: 'hub@example.com', algorithms: ['RS256'],
      clockTolerance: 5, maxTokenAge: 600, requiredClaims: ['iat', 'exp', 'jti'],
    });
  } catch (error) {
    throw new errors.InvalidGrant(`assertion: ${error.message}`);
  }
  const token = new provider.ClientCredentials({ client, scope: params.scope });
  const value = await token.save();
  ctx.body = { access_token: value, expires_in: token.expiration, token_type: 'Bearer', scope: token.scope };
}, ['assertion', 'scope']);

provider.on('grant.success', (ctx) => { if (ctx.oidc.entities.Grant) grants.add(ctx.oidc.entities.Grant.jti); });
provider.on('grant.error', (ctx, error) => console.log(`refused: ${error.message} ${error.error_description ?? ''}`));
provider.on('server_error', (ctx, error) => console.log(error.stack));

async function control(ctx) {
  if (ctx.path === '/control/counts') ctx.body = counts;
  if (ctx.path === '/control/life') { life = Number(ctx.query.seconds); ctx.body = { life }; }
  if (ctx.path === '/control/revoke') {
    for (const id of grants) {
      for (const kind of [provider.AccessToken, provider.RefreshToken]) await kind.revokeByGrantId(id);
      await provider.Grant.adapter.destroy(id);
    }
    ctx.body = { revoked: grants.size };
    grants.clear();
  }
}

// Empty lists of a CRM, for whoever has an access token.
async function api(ctx) {
  const text = (ctx.get('authorization') ?? '').replace(/^Bearer /, '');
  const token = await provider.AccessToken.find(text) ?? await provider.ClientCredentials.find(text);
  const good = token !== undefined && token.isValid;
  count(good ? 'api ok' : 'api refused');
  ctx.status = good ? 200 : 401;
  ctx.body = good ? { results: [], total: 0 } : { status: 'error', category: 'EXPIRED_AUTHENTICATION' };
}

provider.use(async (ctx, next) => {
  if (ctx.path.startsWith('/control/')) return control(ctx);
  if (ctx.path.startsWith('/api/')) return api(ctx);
  await next();
  if (ctx.path === '/token') {
    count(`${ctx.oidc?.params?.grant_type ?? 'unknown'} ${ctx.status === 200 ? 'ok' : 'refused'}`);
  }
});
provider.listen(Number(port), '127.0.0.1');
