// Compiles HLSL files with one of Microsoft's own compilers, on Windows or under Wine.
//
//   hlsl.exe fxc|dxc PROFILE LIST
//
// LIST names a file a line. The first line of each is "// EP " and the name of its entry point. The
// compiler's DLL (d3dcompiler_47.dll or dxcompiler.dll) lies beside hlsl.exe. Prints a line a file,
// separated by tabs: OK or BAD, the file, milliseconds, bytes of what was compiled, and messages.
// Exit status 0: all files compile; 1: some do not; 2: the compiler is not there.
#include <windows.h>

#include <d3dcommon.h>
#include <fstream>
#include <iterator>
#include <stdio.h>
#include <string>

// What d3dcompiler.h and dxcapi.h declare, as far as it is used: MinGW lacks the latter.
typedef HRESULT(WINAPI *D3DCompileFunction)(LPCVOID, SIZE_T, LPCSTR, const void *, void *, LPCSTR, LPCSTR, UINT,
                                            UINT, ID3DBlob **, ID3DBlob **);
typedef HRESULT(WINAPI *DxcCreateInstanceFunction)(REFIID, REFIID, LPVOID *);
// D3DCOMPILE_ENABLE_STRICTNESS, which wgpu sets.
static const UINT STRICTNESS = 1 << 11;
static const UINT ENCODING_UTF8 = 65001;

struct DxcBuffer {
    LPCVOID text;
    SIZE_T size;
    UINT encoding;
};

struct DxcResult : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetStatus(HRESULT *) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetResult(ID3DBlob **) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetErrorBuffer(ID3DBlob **) = 0;
};

struct DxcCompiler : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE Compile(const DxcBuffer *, LPCWSTR *, UINT, void *, REFIID, LPVOID *) = 0;
};

static const GUID COMPILER_CLASS = {0x73e22d93, 0xe6ce, 0x47f3, {0xb5, 0xbf, 0xf0, 0x66, 0x4f, 0x39, 0xc1, 0xb0}};
static const GUID COMPILER = {0x228b4687, 0x5a6a, 0x4730, {0x90, 0x0c, 0x97, 0x02, 0xb2, 0x20, 0x3f, 0x54}};
static const GUID RESULT = {0x58346cda, 0xdde7, 0x4497, {0x94, 0x61, 0x6f, 0x87, 0xaf, 0x5e, 0x06, 0x59}};

static std::string text_of(ID3DBlob *blob) {
    if (!blob) {
        return "";
    }
    std::string text((const char *)blob->GetBufferPointer(), blob->GetBufferSize());
    blob->Release();
    return text;
}

static bool compile_fxc(D3DCompileFunction compile, const std::string &code, const std::string &entry,
                        const char *profile, std::string &object, std::string &messages) {
    ID3DBlob *found = nullptr, *errors = nullptr;
    HRESULT status = compile(code.data(), code.size(), nullptr, nullptr, nullptr, entry.c_str(), profile, STRICTNESS, 0,
                             &found, &errors);
    object = text_of(found);
    messages = text_of(errors);
    return SUCCEEDED(status);
}

static bool compile_dxc(DxcCompiler *compiler, const std::string &code, const std::string &entry,
                        const std::string &profile, std::string &object, std::string &messages) {
    std::wstring wide_entry(entry.begin(), entry.end()), wide_profile(profile.begin(), profile.end());
    LPCWSTR arguments[] = {L"-E", wide_entry.c_str(), L"-T", wide_profile.c_str(), L"-HV", L"2018",
                           L"-no-warnings", L"-Ges"};
    DxcBuffer buffer = {code.data(), code.size(), ENCODING_UTF8};
    DxcResult *result = nullptr;
    HRESULT status = compiler->Compile(&buffer, arguments, ARRAYSIZE(arguments), nullptr, RESULT, (LPVOID *)&result);
    if (FAILED(status) || !result) {
        messages = "no result";
        return false;
    }
    result->GetStatus(&status);
    ID3DBlob *found = nullptr, *errors = nullptr;
    result->GetErrorBuffer(&errors);
    result->GetResult(&found);
    messages = text_of(errors);
    object = text_of(found);
    result->Release();
    return SUCCEEDED(status);
}

int main(int count, char **arguments) {
    if (count != 4) {
        fprintf(stderr, "usage: hlsl.exe fxc|dxc PROFILE LIST\n");
        return 2;
    }
    const bool fxc = std::string(arguments[1]) == "fxc";
    const char *profile = arguments[2];
    const char *library = fxc ? "d3dcompiler_47.dll" : "dxcompiler.dll";
    HMODULE module = LoadLibraryA(library);
    D3DCompileFunction compile = nullptr;
    DxcCompiler *compiler = nullptr;
    if (module && fxc) {
        compile = (D3DCompileFunction)(void *)GetProcAddress(module, "D3DCompile");
    } else if (module) {
        auto create = (DxcCreateInstanceFunction)(void *)GetProcAddress(module, "DxcCreateInstance");
        if (create) {
            create(COMPILER_CLASS, COMPILER, (LPVOID *)&compiler);
        }
    }
    if (!compile && !compiler) {
        fprintf(stderr, "%s does not load\n", library);
        return 2;
    }

    std::ifstream list(arguments[3]);
    std::string file;
    bool all = true;
    while (std::getline(list, file)) {
        std::ifstream input(file, std::ios::binary);
        std::string code((std::istreambuf_iterator<char>(input)), std::istreambuf_iterator<char>());
        std::string entry, object, messages = "no entry point on the first line";
        bool compiled = false;
        DWORD start = GetTickCount();
        if (code.rfind("// EP ", 0) == 0) {
            entry = code.substr(6, code.find('\n') - 6);
            compiled = fxc ? compile_fxc(compile, code, entry, profile, object, messages)
                           : compile_dxc(compiler, code, entry, profile, object, messages);
        }
        for (char &c : messages) {
            if (c == '\n' || c == '\r' || c == '\t' || c == '\0') {
                c = ' ';
            }
        }
        printf("%s\t%s\t%lu\t%zu\t%s\n", compiled ? "OK" : "BAD", file.c_str(), GetTickCount() - start, object.size(),
               messages.c_str());
        fflush(stdout);
        all = all && compiled;
    }
    return all ? 0 : 1;
}
