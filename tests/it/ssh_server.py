"""An SSH server for one key, which runs Git's two programs in one folder and nothing else.

Arguments: the folder, the server's private key, the client's public key. Prints the port.
"""

import asyncio
import shlex
import sys

import asyncssh


async def run(process):
    try:
        program, path = shlex.split(process.command or "")
    except ValueError:
        program, path = "", ""
    if program not in ("git-upload-pack", "git-receive-pack"):
        process.stderr.write("only Git is served here\n")
        process.exit(1)
        return
    child = await asyncio.create_subprocess_exec(
        program,
        root + path,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    await process.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr)
    await process.stdout.drain()
    process.exit(await child.wait())


async def main():
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[host_key],
        authorized_client_keys=client_key,
        process_factory=run,
        encoding=None,
    )
    print(server.get_port(), flush=True)
    await server.wait_closed()


root, host_key, client_key = sys.argv[1:]
asyncio.run(main())
