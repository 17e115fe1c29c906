// Publishes through the log, for nodes with `--redis-url … --redis-log`: `go run .` in this folder.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"

	"github.com/redis/go-redis/v9"
)

// publish sends one event for these channels, which is kept and sent in one step. It returns the event's id and how many nodes got it.
func publish(ctx context.Context, client *redis.Client, event map[string]any, channels ...any) (id string, nodes int64, err error) {
	envelope, err := json.Marshal(event)
	if err != nil {
		return "", 0, err
	}
	arguments := append([]any{envelope}, channels...)
	reply, err := client.FCall(ctx, "fantail_publish", []string{"fantail-log:{0}"}, arguments...).Slice()
	if err != nil {
		return "", 0, err
	}
	return reply[0].(string), reply[1].(int64), nil
}

func main() {
	url := os.Getenv("REDIS_URL")
	if url == "" {
		url = "redis://127.0.0.1:6379"
	}
	options, err := redis.ParseURL(url)
	if err != nil {
		log.Fatal(err)
	}
	client := redis.NewClient(options)
	defer client.Close()
	event := map[string]any{"data": "hello", "event": "greeting"}
	id, nodes, err := publish(context.Background(), client, event, "demo", "news")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(id, nodes)
}
