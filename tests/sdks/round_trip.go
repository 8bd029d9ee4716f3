// A round trip with the SDK that openapi-generator generates. Each line of output is one step that went well.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	softprompt "example.com/softprompt/sdk"
)

const text = "I loved every minute of it"

var (
	address    = os.Getenv("SOFTPROMPT_URL")
	key        = os.Getenv("SOFTPROMPT_API_KEY")
	checkpoint = os.Getenv("CHECKPOINT")
	task       = os.Getenv("TASK")
	ctx        = context.WithValue(context.Background(), softprompt.ContextAccessToken, key)
	client     = newClient()
)

func newClient() *softprompt.APIClient {
	server, err := url.Parse(address)
	check(err)
	configuration := softprompt.NewConfiguration()
	configuration.Scheme, configuration.Host = server.Scheme, server.Host
	return softprompt.NewAPIClient(configuration)
}

func check(err error) {
	if err != nil {
		var answered *softprompt.GenericOpenAPIError
		if errors.As(err, &answered) {
			err = fmt.Errorf("%w: %s", err, answered.Body())
		}
		panic(err)
	}
}

func expect[Value comparable](found, wanted Value) {
	if found != wanted {
		panic(fmt.Sprintf("found %v, wanted %v", found, wanted))
	}
}

// errorOf returns the typed body of a refusal.
func errorOf(err error) *softprompt.ErrorDetail {
	var answered *softprompt.GenericOpenAPIError
	if !errors.As(err, &answered) {
		panic(fmt.Sprintf("no refusal but %v", err))
	}
	body := answered.Model().(softprompt.ErrorBody)
	return &body.Error
}

func open(name string) *os.File {
	file, err := os.Open(filepath.Join(checkpoint, name))
	check(err)
	return file
}

func publish() {
	var manifest map[string]any
	check(json.NewDecoder(open("manifest.json")).Decode(&manifest))
	delete(manifest, "description") // it is a field of the task
	for number, stop := range [][]string{{}, {"\n"}} {
		manifest["stop"] = stop
		encoded, err := json.Marshal(manifest)
		check(err)
		published, response, err := client.VersionsAPI.VersionsPublish(ctx, task).
			AdapterConfig(open("adapter_config.json")).
			AdapterModel(open("adapter_model.safetensors")).
			Manifest(string(encoded)).
			Execute()
		check(err)
		expect(response.StatusCode, http.StatusCreated)
		expect(published.Task, task)
		expect(published.Version, int64(number+1))
	}
}

func moveAlias() {
	before, response, err := client.AliasesAPI.AliasesGet(ctx, task, "production").Execute()
	check(err)
	expect(before.Version, 1)
	etag := response.Header.Get("ETag")
	move := softprompt.MoveAlias{}
	move.SetVersion(2)
	move.SetReason("a round trip")
	put := client.AliasesAPI.AliasesPut(ctx, task, "production").IfMatch(etag).MoveAlias(move)
	moved, _, err := put.Execute()
	check(err)
	expect(moved.Version, 2)
	_, response, err = put.Execute()
	expect(response.StatusCode, http.StatusPreconditionFailed)
	expect(errorOf(err).GetCode(), "precondition_failed")
}

func request() softprompt.CompletionRequest {
	prompt := text
	return *softprompt.NewCompletionRequest(task, softprompt.CompletionRequestPrompt{String: &prompt})
}

func complete() {
	answer, response, err := client.CompletionsAPI.CompletionsCreate(ctx).CompletionRequest(request()).Execute()
	check(err)
	expect(answer.Choices[0].Text, "positive")
	expect(response.Header.Get("x-softprompt-version"), "2")
}

// stream reads events with the SDK's types: its own call returns after the last one.
func stream() {
	body := request()
	body.SetStream(true)
	encoded, err := json.Marshal(body)
	check(err)
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, address+"/v1/completions", bytes.NewReader(encoded))
	check(err)
	post.Header.Set("Content-Type", "application/json")
	post.Header.Set("Authorization", "Bearer "+key)
	response, err := http.DefaultClient.Do(post)
	check(err)
	defer response.Body.Close()
	answer, last := "", ""
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		data, isEvent := strings.CutPrefix(lines.Text(), "data: ")
		if !isEvent {
			continue
		}
		if last = data; last == "[DONE]" {
			break
		}
		var chunk softprompt.CompletionChunk
		check(json.Unmarshal([]byte(data), &chunk))
		for _, choice := range chunk.Choices {
			answer += choice.Text
		}
	}
	check(lines.Err())
	expect(answer, "positive")
	expect(last, "[DONE]")
}

func classify() {
	inputs := []string{text, "a waste of money"}
	body := softprompt.NewClassifyRequest(task, softprompt.ClassifyRequestInput{ArrayOfString: &inputs})
	result, _, err := client.ClassifyAPI.ClassifyCreate(ctx).ClassifyRequest(*body).Execute()
	check(err)
	for row, label := range []string{"positive", "negative"} {
		expect(result.Data[row].Classification.Label, label)
	}
}

func tune() {
	examples, err := os.CreateTemp("", "*.jsonl")
	check(err)
	defer os.Remove(examples.Name())
	for row := range 24 {
		fmt.Fprintf(examples, "{\"text\": \"order %d is late\", \"label\": \"%s\"}\n", row, []string{"refund", "wait"}[row%2])
	}
	_, err = examples.Seek(0, 0)
	check(err)
	file, _, err := client.FilesAPI.FilesCreate(ctx).File(examples).Purpose("fine-tune").Execute()
	check(err)
	models, _, err := client.ModelsAPI.ModelsList(ctx).Execute()
	check(err)
	base := ""
	for _, model := range models.Data {
		if model.GetParent() == "" {
			base = model.Id
		}
	}
	create := softprompt.NewCreateJob(base, file.Id)
	create.SetSuffix(task + "-tuned")
	hyperparameters := softprompt.Hyperparameters{}
	hyperparameters.SetNumSteps(2)
	create.SetHyperparameters(hyperparameters)
	job, _, err := client.FineTuningAPI.FineTuningCreate(ctx).CreateJob(*create).Execute()
	check(err)
	_, _, err = client.FineTuningAPI.FineTuningCancel(ctx, job.Id).Execute()
	check(err)
	found, _, err := client.FineTuningAPI.FineTuningGet(ctx, job.Id).Execute()
	check(err)
	expect(found.TrainingFile, file.Id)
}

func notFound() {
	_, response, err := client.TasksAPI.TasksGet(ctx, "nobody-made-it").Execute()
	expect(response.StatusCode, http.StatusNotFound)
	expect(errorOf(err).GetCode(), "task_not_found")
}

func main() {
	steps := []struct {
		name string
		run  func()
	}{
		{"publish", publish}, {"moveAlias", moveAlias}, {"complete", complete}, {"stream", stream},
		{"classify", classify}, {"tune", tune}, {"notFound", notFound},
	}
	for _, step := range steps {
		step.run()
		fmt.Println("passed:", step.name)
	}
}
