import ai.onnxruntime.NodeInfo;
import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import ai.onnxruntime.TensorInfo;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;

/**
 * Runs a model that Pare made with ONNX Runtime's Java artifact, prints the first choice of every sample and the latency.
 *
 *     java -cp "lib/*" RunModel.java MODEL [SAMPLES.f32] [RUNS]
 *
 * SAMPLES.f32 holds the float32 values of samples one after the other, little-endian; without it one sample is made up.
 */
public class RunModel {
  public static void main(String[] args) throws IOException, OrtException {
    if (args.length == 0) {
      System.err.println("java -cp \"lib/*\" RunModel.java MODEL [SAMPLES.f32] [RUNS]");
      System.exit(2);
    }
    int runs = args.length > 2 ? Integer.parseInt(args[2]) : 200;
    OrtEnvironment environment = OrtEnvironment.getEnvironment();
    try (OrtSession.SessionOptions options = new OrtSession.SessionOptions()) {
      // One thread, as Pare measures.
      options.setIntraOpNumThreads(1);
      options.setInterOpNumThreads(1);
      long begun = System.nanoTime();
      try (OrtSession session = environment.createSession(args[0], options)) {
        System.out.printf("runtime  ONNX Runtime %s, Java %s%n", environment.getVersion(), Runtime.version().feature());
        System.out.printf("load     %.1f ms%n", millis(begun));
        NodeInfo input = session.getInputInfo().values().iterator().next();
        long[] shape = sampleShape((TensorInfo) input.getInfo());
        float[][] samples = args.length > 1 ? read(Path.of(args[1]), size(shape)) : new float[][] {madeUp(size(shape))};
        for (int i = 0; i < samples.length; i++) {
          float[] scores = run(environment, session, input.getName(), samples[i], shape);
          int best = argmax(scores);
          System.out.printf("top-1    %d: class %d, %.6f%n", i, best, scores[best]);
        }
        System.out.printf("latency  %.3f ms, the median of %d runs%n",
            latency(environment, session, input.getName(), samples[0], shape, runs), runs);
      }
    }
  }

  /** The first output of one sample. */
  private static float[] run(OrtEnvironment environment, OrtSession session, String name, float[] sample, long[] shape)
      throws OrtException {
    try (OnnxTensor tensor = OnnxTensor.createTensor(environment, FloatBuffer.wrap(sample), shape);
        OrtSession.Result result = session.run(Map.of(name, tensor))) {
      FloatBuffer values = ((OnnxTensor) result.get(0)).getFloatBuffer();
      float[] scores = new float[values.remaining()];
      values.get(scores);
      return scores;
    }
  }

  /** Milliseconds of one run: the median, with the tensors made and read as a program does. */
  private static double latency(OrtEnvironment environment, OrtSession session, String name, float[] sample, long[] shape,
      int runs) throws OrtException {
    for (int i = 0; i < 20; i++) run(environment, session, name, sample, shape);
    double[] times = new double[runs];
    for (int i = 0; i < runs; i++) {
      long begun = System.nanoTime();
      run(environment, session, name, sample, shape);
      times[i] = millis(begun);
    }
    Arrays.sort(times);
    return times[runs / 2];
  }

  /** Sizes that the model leaves open, such as the batch, are 1. */
  private static long[] sampleShape(TensorInfo info) {
    return Arrays.stream(info.getShape()).map(size -> size < 0 ? 1 : size).toArray();
  }

  private static int size(long[] shape) {
    return (int) Arrays.stream(shape).reduce(1, (a, b) -> a * b);
  }

  private static float[][] read(Path path, int size) throws IOException {
    FloatBuffer values = ByteBuffer.wrap(Files.readAllBytes(path)).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer();
    float[][] samples = new float[values.remaining() / size][size];
    for (float[] sample : samples) values.get(sample);
    return samples;
  }

  /** Values between -1 and 1, the same every time. */
  private static float[] madeUp(int size) {
    float[] sample = new float[size];
    for (int i = 0; i < size; i++) sample[i] = (float) Math.sin(i);
    return sample;
  }

  private static int argmax(float[] scores) {
    int best = 0;
    for (int i = 1; i < scores.length; i++) if (scores[i] > scores[best]) best = i;
    return best;
  }

  private static double millis(long since) {
    return (System.nanoTime() - since) / 1e6;
  }
}
