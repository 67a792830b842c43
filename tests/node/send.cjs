// Sends one raw message with nodemailer: send.cjs PORT starttls|tls USER FROM TO,TO FILE
// (the key comes in SIGNET_KEY, or a token in SIGNET_TOKEN; SIGNET_MECHANISM: how to log in).
// Prints the reply; exit 1 with the error.
const fs = require('fs');
const nodemailer = require('nodemailer');

const [port, door, user, from, to, file] = process.argv.slice(2);
const transport = nodemailer.createTransport({
	host: '127.0.0.1',
	port: Number(port),
	name: 'client.example',
	secure: door === 'tls',
	requireTLS: door === 'starttls',
	authMethod: process.env.SIGNET_MECHANISM,
	auth: process.env.SIGNET_TOKEN
		? { type: 'OAuth2', user, accessToken: process.env.SIGNET_TOKEN }
		: { user, pass: process.env.SIGNET_KEY },
	tls: { rejectUnauthorized: false },
});

transport
	.sendMail({ envelope: { from, to: to.split(',') }, raw: fs.readFileSync(file) })
	.then((info) => {
		console.log(info.response);
		transport.close();
	})
	.catch((e) => {
		console.log(String(e));
		process.exit(1);
	});
