// Runs browser.html in headless Chromium, on its software adapter, and prints what the page found.
//
//   node browser.mjs FOLDER [CHROMIUM]      FOLDER holds cases.json
//
// Exit status 0: every stage is right; 1: some are not; 2: no browser, or no answer within a minute.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import os from 'node:os';
import path from 'node:path';

const [folder, chromium = 'chromium'] = process.argv.slice(2);
if (!folder) {
    console.error('usage: node browser.mjs FOLDER [CHROMIUM]');
    process.exit(2);
}
const page = path.join(import.meta.dirname, 'browser.html');
const files = {
    '/': [page, 'text/html'],
    '/cases.json': [path.join(folder, 'cases.json'), 'application/json'],
};
const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'shardloom-browser-'));
let browser;
function leave(status) {
    browser?.kill();
    setTimeout(() => {
        fs.rmSync(profile, { recursive: true, force: true, maxRetries: 10 });
        process.exit(status);
    }, 500);
}

const server = http.createServer((request, response) => {
    if (request.method === 'POST') {
        let body = '';
        request.on('data', (part) => { body += part; });
        request.on('end', () => {
            response.end();
            const { passed, lines } = JSON.parse(body);
            console.log(lines.join('\n'));
            leave(passed ? 0 : 1);
        });
        return;
    }
    const [file, type] = files[request.url] ?? [];
    response.writeHead(file ? 200 : 404, { 'content-type': type ?? 'text/plain' });
    response.end(file ? fs.readFileSync(file) : '');
});
server.listen(0, '127.0.0.1', () => {
    const address = `http://127.0.0.1:${server.address().port}/`;
    browser = spawn(chromium, [
        '--headless', '--no-sandbox', '--disable-gpu-sandbox', `--user-data-dir=${profile}`,
        '--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader', address,
    ], { stdio: 'ignore' });
    browser.on('error', (error) => {
        console.error(`${chromium} does not start: ${error.message}`);
        leave(2);
    });
});
setTimeout(() => {
    console.error('no answer within a minute');
    leave(2);
}, 60_000).unref();
