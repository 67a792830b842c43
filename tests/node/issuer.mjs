// A real issuer on loopback: issuer.mjs PORT. oidc-provider with the client credentials grant; its
// access tokens are JWTs (RFC 9068) for the resource urn:mail, opaque for urn:mail:opaque.
// Beside it, for the tests: POST /test/rotate makes new keys; /test/sign signs {header, claims} with
// the one in use, which oidc-provider would never do; /test/trouble {match, status, ms} answers
// questions about tokens that contain `match` with that status, or as ever, so much later.
import { createServer } from 'node:http';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import * as jose from 'jose';
import Provider from 'oidc-provider';

const port = Number(process.argv[2]);
const url = `http://127.0.0.1:${port}/sso`;
let current, key, trouble;

function make() {
	const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
	const jwk = { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg: 'ES256' };
	const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' });
	key = { private: privateKey, kid: jwk.kid };
	current = new Provider(url, {
		clients: ['robot', 'stranger', 'mailrelay'].map((id) => ({
			client_id: id,
			client_secret: `${id}:secret`,
			grant_types: ['client_credentials'],
			redirect_uris: [],
			response_types: [],
			id_token_signed_response_alg: 'ES256',
		})),
		features: {
			devInteractions: { enabled: false },
			clientCredentials: { enabled: true },
			introspection: { enabled: true, allowedPolicy: () => true },
			revocation: { enabled: true, allowedPolicy: () => true },
			resourceIndicators: {
				enabled: true,
				getResourceServerInfo: (ctx, resource) => ({
					scope: 'mail.send mail.read',
					audience: resource.startsWith('urn:mail') ? 'mail' : resource,
					accessTokenTTL: 600,
					accessTokenFormat: resource.endsWith('opaque') ? 'opaque' : 'jwt',
					jwt: { sign: { alg: resource.endsWith('rsa') ? 'PS256' : 'ES256' } },
				}),
			},
		},
		scopes: ['mail.send', 'mail.read'],
		clientDefaults: { id_token_signed_response_alg: "ES256" },
		jwks: { keys: [jwk, { ...rsa, kid: randomUUID(), use: 'sig', alg: 'PS256' }] },
		cookies: { keys: ['x'] },
	});
	current.on('server_error', (ctx, e) => console.error(e));
}

async function body(req) {
	let text = '';
	for await (const chunk of req) text += chunk;
	return JSON.parse(text || '{}');
}

// Introspection; the provider takes what is read already from req.body.
async function introspect(req, res) {
	let text = '';
	for await (const chunk of req) text += chunk;
	const mine = trouble && text.includes(trouble.match);
	if (mine && trouble.ms) await new Promise((done) => setTimeout(done, trouble.ms));
	if (mine && trouble.status) {
		res.statusCode = trouble.status;
		res.end(trouble.body || '');
		return;
	}
	req.body = Object.fromEntries(new URLSearchParams(text));
	req.originalUrl = req.url;
	req.url = req.url.slice('/sso'.length);
	current.callback()(req, res);
}

make();
createServer(async (req, res) => {
	if (req.url === '/test/trouble') {
		trouble = await body(req);
		res.end('{}');
	} else if (trouble && req.url === '/sso/token/introspection') {
		await introspect(req, res);
	} else if (req.url === '/test/rotate') {
		make();
		res.end('{}');
	} else if (req.url === '/test/sign') {
		const { header, claims } = await body(req);
		const protectedHeader = { alg: 'ES256', typ: 'at+jwt', kid: key.kid, ...header };
		for (const k of Object.keys(protectedHeader))
			if (protectedHeader[k] === null) delete protectedHeader[k];
		const signer = new jose.CompactSign(Buffer.from(JSON.stringify(claims))).setProtectedHeader(protectedHeader);
		res.end(JSON.stringify({ token: await signer.sign(key.private, { crit: { x: true } }) }));
	} else if (req.url.startsWith('/.well-known/oauth-authorization-server/sso')) {
		// RFC 8414 puts the well-known part before the path; the library, mounted, behind it.
		req.url = '/.well-known/oauth-authorization-server';
		req.originalUrl = '/sso/.well-known/oauth-authorization-server';
		current.callback()(req, res);
	} else if (req.url.startsWith('/sso')) {
		req.originalUrl = req.url;
		req.url = req.url.slice('/sso'.length) || '/';
		current.callback()(req, res);
	} else {
		res.statusCode = 404;
		res.end();
	}
}).listen(port, '127.0.0.1', () => console.log(`issuer ${url}`));
