const http = require('http')
const path = require('path')
const { createRequire } = require('module')
const { createChannel, createSession } = createRequire(path.join(process.argv[2], 'x'))('better-sse')

const channels = new Map()
const channelOf = (request) => {
    const name = request.url.split('/').pop()
    if (!channels.has(name)) channels.set(name, createChannel())
    return channels.get(name)
}

http.createServer(async (request, response) => {
    const channel = channelOf(request)
    // Data goes out as it came in, like at all other servers; the default would wrap it as JSON.
    channel.register(await createSession(request, response, { serializer: (data) => data, keepAlive: 15000 }))
}).listen(18220, '127.0.0.1', 4096)

const publishing = http.createServer((request, response) => {
    let data = ''
    request.setEncoding('utf8')
    request.on('data', (part) => { data += part })
    request.on('end', () => {
        channelOf(request).broadcast(data)
        response.writeHead(202).end()
    })
}).listen(18221, '127.0.0.1')
// The publisher keeps its connection through rounds and rests; the default closes it after five idle seconds.
publishing.keepAliveTimeout = 0
