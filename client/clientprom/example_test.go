package clientprom_test

import (
	"context"
	"fmt"
	"log"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dialkv/dialkv/client"
	"github.com/dialkv/dialkv/client/clientprom"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// An application hands the client what tells its metrics.
func ExampleObserve() {
	registry := prometheus.NewRegistry()
	observe, err := clientprom.Observe(registry)
	check(err)
	c, err := client.Open(context.Background(), client.Config{Seeds: []string{"127.0.0.1:7400"}, Observe: observe})
	check(err)
	defer c.Close()
	_, err = clientprom.Observe(registry)
	fmt.Println("once for each registry:", err != nil)
	// Output: once for each registry: true
}
