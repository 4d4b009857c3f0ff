// Compiles every *.wgsl of a folder with Tint, the WGSL compiler of Chromium and Dawn, and prints what
// Tint refuses. Dawn's null backend needs neither a GPU nor a browser.
//
//   npm install webgpu@0.6.2
//   node tint.mjs FOLDER
//
// Exit status 0: every shader is accepted; 1: some are not, or there are none; 2: Dawn does not start.
import fs from 'node:fs';
import path from 'node:path';
import { create, globals } from 'webgpu';

Object.assign(globalThis, globals);

const [folder] = process.argv.slice(2);
if (!folder) {
    console.error('usage: node tint.mjs FOLDER');
    process.exit(2);
}
// The instance must outlive its adapters.
const gpu = create(['backend=null']);
const adapter = await gpu.requestAdapter();
if (!adapter) {
    console.error("Dawn's null backend has no adapter");
    process.exit(2);
}
const device = await adapter.requestDevice();

const files = fs.readdirSync(folder).filter((file) => file.endsWith('.wgsl')).sort();
let refused = 0;
for (const file of files) {
    device.pushErrorScope('validation');
    const code = fs.readFileSync(path.join(folder, file), 'utf8');
    const module = device.createShaderModule({ code, label: file });
    const { messages } = await module.getCompilationInfo();
    const faults = messages.map((m) => `line ${m.lineNum}: ${m.type}: ${m.message}`);
    if (faults.length === 0) {
        try {
            await device.createComputePipelineAsync({ layout: 'auto', compute: { module } });
        } catch (error) {
            faults.push(error.message.split('\n')[0]);
        }
    }
    const error = await device.popErrorScope();
    if (error && faults.length === 0) {
        faults.push(error.message.split('\n')[0]);
    }
    if (faults.length > 0) {
        refused += 1;
        console.log(`${file}: ${faults.join('; ')}`);
    }
}
console.log(`Tint accepts ${files.length - refused} of ${files.length} shaders`);
process.exit(refused > 0 || files.length === 0 ? 1 : 0);
