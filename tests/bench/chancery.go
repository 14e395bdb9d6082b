package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Chancery is our server, from a release binary.
func Chancery(binary string) Software {
	return Software{Name: "chancery", readyPath: "/ready", launch: launchChancery(binary), accounts: chanceryAccounts}
}

// launchChancery runs a release binary, configured by environment alone.
func launchChancery(binary string) launcher {
	return func(ctx context.Context, directory, address string, database *Postgres) (*exec.Cmd, string, error) {
		version, err := exec.CommandContext(ctx, binary, "--version").Output()
		if err != nil {
			return nil, "", fmt.Errorf("%s --version: %w", binary, err)
		}
		command := exec.Command(binary, "serve")
		command.Env = append(os.Environ(),
			"CHANCERY_SERVER_NAME="+serverName,
			"CHANCERY_DATA_DIR="+directory,
			"CHANCERY_LISTEN="+address,
			fmt.Sprintf("CHANCERY_DATABASE_URL=postgres:///%s?host=%s&user=bench", database.Database, database.Socket),
			"CHANCERY_REGISTRATION=open",
			"CHANCERY_RATE_LIMITS=off",
			"CHANCERY_FEDERATION_MODE=open",
			"CHANCERY_FEDERATION_CA_FILE="+filepath.Join(directory, authorityFile),
			`CHANCERY_FEDERATION_ALLOWED_NETWORKS=["127.0.0.0/8"]`,
			"CHANCERY_PRESENCE_ENABLED=false",
		)
		return command, strings.TrimSpace(strings.TrimPrefix(string(version), "chancery")), nil
	}
}
