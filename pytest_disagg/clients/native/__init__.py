"""The load generator of this project: asyncio.Protocol, one process, connections opened before the clock starts."""
