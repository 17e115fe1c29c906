// The backend behind Pushpin: tells it to hold each request as a stream of the channel in its path.
require('http').createServer((request, response) => {
    response.writeHead(200, {
        'Content-Type': 'text/event-stream',
        'Grip-Hold': 'stream',
        'Grip-Channel': request.url.split('/').pop(),
    })
    response.end(':\n\n')
}).listen(18212, '127.0.0.1', 4096)
