// A peer to measure against: the Mercure hub as a library, with its local transport and its own HTTP handler. Subscribers
// are anonymous, publishers have a token. It keeps no events, and its timeouts do not close streams. It speaks HTTP/2 with
// clients that know so beforehand.
package main

import (
	"context"
	"log"
	"log/slog"
	"net/http"
	"os"

	"github.com/dunglas/mercure"
)

func main() {
	quiet := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	subscribers := mercure.NewSubscriberList(mercure.DefaultSubscriberListCacheSize)
	hub, err := mercure.NewHub(
		context.Background(),
		mercure.WithLogger(quiet),
		mercure.WithTransport(mercure.NewLocalTransport(subscribers)),
		mercure.WithAnonymous(),
		mercure.WithWriteTimeout(0),
		// peer.toml has a token that this key has signed.
		mercure.WithPublisherJWT([]byte("the-key-of-a-benchmark-is-no-secret"), "HS256"),
	)
	if err != nil {
		log.Fatal(err)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := http.Server{Addr: "127.0.0.1:18270", Handler: hub, Protocols: protocols}
	log.Fatal(server.ListenAndServe())
}
